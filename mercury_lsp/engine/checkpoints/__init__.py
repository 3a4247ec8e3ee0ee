"""Reads the files of a model: shapes, weights and tokenizers."""
