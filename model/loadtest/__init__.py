"""Measures and simulates the servers under load and under attack."""
