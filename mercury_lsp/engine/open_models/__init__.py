"""Runs open diffusion models, and describes the families of open models."""
