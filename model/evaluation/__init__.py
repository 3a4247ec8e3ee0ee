"""Measures models on the public suites, on held-out packages, and by simulated typing."""
