"""Serves one model to many editors over HTTP."""
