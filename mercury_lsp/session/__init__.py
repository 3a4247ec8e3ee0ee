"""Keeps the state of one client: settings, folders, open documents, and the files that may be read."""
