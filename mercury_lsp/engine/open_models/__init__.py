"""Runs open diffusion models."""
