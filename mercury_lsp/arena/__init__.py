"""Compares models and modes blindly on edits that the user made."""
