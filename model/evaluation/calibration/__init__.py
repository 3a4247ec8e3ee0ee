"""Fits the cutoff of suggestions and the mixture with the project memory to held-out packages."""
