"""Compares models and modes blindly on the user's own edits."""
