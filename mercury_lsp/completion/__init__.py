"""Turns a snapshot of a document into the text that is shown: no LSP, no torch."""
