"""Finds the next edit: generalizes recent edits and offers them where they come next."""
