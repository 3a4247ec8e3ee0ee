(load "~/mercury-lsp/editors/emacs/mercury.el")
(setq mercury-settings '(:max_tokens 32 :multiline "never"))
(mercury-setup-eglot '(python-base-mode))
(add-hook 'python-base-mode-hook #'eglot-ensure)
