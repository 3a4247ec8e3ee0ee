"""Decodes a middle, token by token or block by block, from a model's scores."""
