"""One model for many editors, over HTTP. Knows no LSP and no files of the user; nothing else imports it."""
