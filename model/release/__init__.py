"""Builds and checks the published files."""
