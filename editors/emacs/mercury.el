;;; mercury.el --- Code suggestions from a local model, by eglot or lsp-mode  -*- lexical-binding: t -*-

;; Version: 0.1.0
;; Package-Requires: ((emacs "30.1"))
;; Keywords: languages, tools

;;; Commentary:

;; Lets the two LSP clients of Emacs start the server mercury-lsp with its settings, and defines its commands.
;; The clients themselves request suggestions and draw them.  README.md next to this file tells how to use it:
;;
;;   (load "PATH/editors/emacs/mercury.el")
;;   (mercury-setup-eglot '(python-base-mode))   ; Mercury is these modes' only server
;;   (mercury-setup-lsp-mode)                    ; or: in addition to the language's own server
;;
;; Neither client is loaded before the user starts it.

;;; Code:

(require 'json)
(require 'seq)
(require 'subr-x)

(defvar completion-preview-idle-delay)
(defvar completion-preview-minimum-symbol-length)
(defvar eglot-server-programs)
(defvar lsp--buffer-workspaces)
(defvar lsp--cur-workspace)
(defvar lsp-inline-completion-idle-delay)
(declare-function completion-preview-mode "completion-preview" (&optional argument))
(declare-function eglot--TextDocumentPositionParams "eglot" ())
(declare-function eglot-current-server "eglot" ())
(declare-function eglot-execute "eglot" (server action))
(declare-function eglot-managed-p "eglot" ())
(declare-function eglot-server-capable "eglot" (&rest features))
(declare-function lsp--text-document-position-params "lsp-mode" (&optional identifier position))
(declare-function lsp--workspace-client "lsp-mode" (workspace))
(declare-function lsp--client-server-id "lsp-mode" (client))
(declare-function lsp-register-client "lsp-mode" (client))
(declare-function lsp-register-custom-settings "lsp-mode" (settings))
(declare-function lsp-request "lsp-mode" (method params &rest arguments))
(declare-function lsp-stdio-connection "lsp-mode" (command &optional test))
(declare-function lsp-workspaces "lsp-mode" ())
(declare-function make-lsp-client "lsp-mode" (&rest slots))

(defgroup mercury nil
  "Code suggestions from a diffusion model on this machine."
  :group 'tools
  :prefix "mercury-")

(defcustom mercury-command '("mercury-lsp" "--stdio")
  "The server's program and its arguments."
  :type '(repeat string))

(defcustom mercury-settings nil
  "The server's options, as a property list such as (:max_tokens 32).
The table in docs/configuration.md has them all.  For true and false write t
and :json-false, for a list a vector.  The server is told when it
starts; in lsp-mode also when it asks, so that a change counts
for the next server without a restart of Emacs."
  :type '(plist :key-type symbol :value-type sexp))

(defcustom mercury-delay 0.2
  "Seconds without a key after which a suggestion is asked for.
For lsp-mode this is set as `lsp-inline-completion-idle-delay',
whose own value is two seconds, for eglot in the buffers that
Mercury serves."
  :type 'number)

(defcustom mercury-preview t
  "Whether eglot's suggestion is shown as ghost text.
That is by `completion-preview-mode'.  Otherwise it comes by
`completion-at-point' alone, and by Corfu or Company."
  :type 'boolean)

;;;###autoload
(defun mercury-setup-eglot (modes)
  "Let eglot start Mercury in MODES, a list of major modes.
Eglot has one server in a buffer: Mercury takes the place of the
modes' own.  Modes derived from MODES are meant too."
  (with-eval-after-load 'eglot
    (add-to-list 'eglot-server-programs (cons modes #'mercury--contact))
    (add-hook 'eglot-managed-mode-hook #'mercury--eglot-buffer)))

(defun mercury--contact (&optional _interactive)
  "Return what eglot has to start, and the options for the server."
  (append mercury-command
          (and mercury-settings (list :initializationOptions mercury-settings))))

(defun mercury--eglot-p ()
  "Whether this buffer's eglot server is Mercury."
  (and (fboundp 'eglot-managed-p)
       (eglot-managed-p)
       (seq-contains-p (eglot-server-capable :executeCommandProvider :commands) "mercury.explain")))

(defun mercury--eglot-buffer ()
  "Show suggestions as ghost text if Mercury serves this buffer."
  (when (and mercury-preview (mercury--eglot-p) (require 'completion-preview nil t))
    ;; Also suggest after a bracket or a blank.
    (setq-local completion-preview-minimum-symbol-length nil)
    (setq-local completion-preview-idle-delay mercury-delay)
    (completion-preview-mode)))

;;;###autoload
(defun mercury-setup-lsp-mode ()
  "Let lsp-mode start Mercury in each programming language.
It runs beside the language's own server, or alone.
Ghost text needs lsp-mode 10."
  (with-eval-after-load 'lsp-mode
    (mercury--register)
    ;; If the server has inline completion, lsp-mode 10 draws ghost text by itself.
    (setq lsp-inline-completion-idle-delay mercury-delay)))

(defun mercury--register ()
  "Make lsp-mode know the server and its settings."
  (lsp-register-custom-settings '(("mercury" mercury-settings)))
  (lsp-register-client
   (make-lsp-client
    :new-connection (lsp-stdio-connection (lambda () mercury-command))
    :activation-fn (lambda (_file mode) (provided-mode-derived-p mode 'prog-mode))
    :add-on? t
    :server-id 'mercury
    :initialization-options (lambda () mercury-settings)
    :synchronize-sections '("mercury")
    ;; Without a handler, lsp-mode sends the command to the language's own server, which does not know it.
    :action-handlers (let ((handlers (make-hash-table :test #'equal)))
                       (puthash "mercury.accepted" #'mercury--accepted handlers)
                       handlers))))

(defun mercury--accepted (action)
  "Tell the server that the item with ACTION, its command, was accepted."
  (mercury--lsp-execute (if (hash-table-p action)
                            (list :command (gethash "command" action) :arguments (gethash "arguments" action))
                          action)))

(defun mercury--lsp-workspace ()
  "Mercury's among the lsp-mode workspaces of this buffer, or nil."
  (and (bound-and-true-p lsp-mode)
       (seq-find (lambda (workspace)
                   (eq (lsp--client-server-id (lsp--workspace-client workspace)) 'mercury))
                 (lsp-workspaces))))

(defun mercury--lsp-execute (parameters)
  "What the server in lsp-mode answers to a command with PARAMETERS."
  (let ((lsp--cur-workspace nil)
        (lsp--buffer-workspaces (list (mercury--lsp-workspace))))
    (lsp-request "workspace/executeCommand" parameters)))

(defun mercury--execute (command &rest arguments)
  "What this buffer's server answers to COMMAND with ARGUMENTS."
  (let ((parameters (list :command command :arguments (vconcat arguments))))
    (cond ((mercury--eglot-p) (eglot-execute (eglot-current-server) parameters))
          ((mercury--lsp-workspace) (mercury--lsp-execute parameters))
          (t (user-error "Mercury does not serve this buffer")))))

;;;###autoload
(defun mercury-explain ()
  "Tell why nothing is suggested at point."
  (interactive)
  (message "%s" (mercury--execute "mercury.explain"
                                  (if (mercury--eglot-p)
                                      (eglot--TextDocumentPositionParams)
                                    (and (mercury--lsp-workspace) (lsp--text-document-position-params))))))

;;;###autoload
(defun mercury-snooze (minutes)
  "Suggest nothing automatically for MINUTES, ten without a prefix argument."
  (interactive (list (if current-prefix-arg (prefix-numeric-value current-prefix-arg) 10)))
  (message "No suggestions until %s" (mercury--execute "mercury.snooze" minutes)))

;;;###autoload
(defun mercury-resume ()
  "End what `mercury-snooze' began."
  (interactive)
  (mercury--execute "mercury.resume")
  (message "Suggestions are on"))

;;;###autoload
(defun mercury-stats (&optional days)
  "Show the outcomes of the suggestions of the last DAYS.
DAYS is the prefix argument; without it, all that is kept counts."
  (interactive "P")
  (let ((found (apply #'mercury--execute "mercury.stats"
                      (and days (list (prefix-numeric-value days))))))
    (with-help-window "*mercury-stats*"
      (princ (with-temp-buffer
               (insert (json-serialize found :null-object nil :false-object :json-false))
               (json-pretty-print-buffer)
               (buffer-string))))))

(provide 'mercury)
;;; mercury.el ends here
