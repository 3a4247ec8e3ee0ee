"""Measures how many keys suggestions save, with the real server."""
