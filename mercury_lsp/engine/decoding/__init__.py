"""Decodes a middle from a model's scores."""
