"""Finds the next edit: generalizes recent edits and suggests them at the places where they come next."""
