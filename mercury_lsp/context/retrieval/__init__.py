"""Finds text of other files that helps at the cursor."""
