"""Builds the checkpoints that training starts from."""
