"""The measurements of `mercury-lsp bench`."""
