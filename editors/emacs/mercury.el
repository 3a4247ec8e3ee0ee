;;; mercury.el --- Mercury in Emacs, by lsp-mode or by eglot  -*- lexical-binding: t -*-

;; Put one of the two halves into your init file. Both follow these packages' manuals.

;; lsp-mode 10, beside the language's own server. With ghost text: M-x lsp-inline-completion-mode.
(with-eval-after-load 'lsp-mode
  (lsp-register-client
   (make-lsp-client :new-connection (lsp-stdio-connection '("mercury-lsp" "--stdio"))
                    :activation-fn (lambda (&rest _) t)
                    :add-on? t
                    :initialization-options '(:max_tokens 32) ; the server's options; may be left out
                    :server-id 'mercury)))

;; eglot, in Emacs itself: one server for a mode, and completion menus instead of ghost text.
(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs '(python-base-mode . ("mercury-lsp" "--stdio"))))

;;; mercury.el ends here
