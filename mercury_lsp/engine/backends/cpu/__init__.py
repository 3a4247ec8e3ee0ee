"""Runs networks on the CPU by the C kernel."""
