"""Measures suggestions in packages that no training has seen."""
