"""Keeps what one client told the server: settings, folders, open documents, and the files it may read."""
