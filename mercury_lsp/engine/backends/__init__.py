"""Runs networks on CPUs and GPUs, and keeps their KV caches."""
