"""The commands of `mercury-lsp`, one module each; each ends early by raising `Failure`."""
