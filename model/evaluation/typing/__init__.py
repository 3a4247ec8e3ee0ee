"""Measures what suggestions save at the keyboard, through the real server."""
