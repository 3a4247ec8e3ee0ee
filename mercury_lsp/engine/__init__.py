"""The engine: from token ids to an infilled middle. It knows neither LSP nor tree-sitter."""
