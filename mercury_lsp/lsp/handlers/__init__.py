"""Handles the messages of an editor: one module for each kind."""
