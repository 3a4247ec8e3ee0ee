"""Measures next edits on consecutive versions of packages, and on this repository's history."""
