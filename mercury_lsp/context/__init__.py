"""Builds the prompt from the document and other files, and keeps ignored and private text out of it."""
