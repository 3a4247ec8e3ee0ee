"""Finds, downloads and selects models."""
