"""Runs networks on the CPU with the C kernel."""
