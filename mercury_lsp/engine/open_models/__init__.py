"""Runs open diffusion models of other makers."""
