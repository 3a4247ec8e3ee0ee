"""Sends the text around a cursor to a hosted model and reads the answer; runs only if the option `remote` is set."""
