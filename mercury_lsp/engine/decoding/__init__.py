"""Decodes a middle from a model's scores. Knows no weights and no devices."""
