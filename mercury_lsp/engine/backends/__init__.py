"""Runs networks on processors and GPUs, and keeps their keys and values."""
