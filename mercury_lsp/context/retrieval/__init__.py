"""Finds related text in other files for the prompt."""
