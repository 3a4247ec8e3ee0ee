"""Measures what `mercury-lsp bench` prints."""
