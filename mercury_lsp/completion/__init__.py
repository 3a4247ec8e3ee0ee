"""Turns a snapshot of a document into the shown text; imports neither LSP nor PyTorch."""
