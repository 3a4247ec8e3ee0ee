"""The engine: turns a prompt into an infilled middle. It depends on neither LSP nor tree-sitter."""
