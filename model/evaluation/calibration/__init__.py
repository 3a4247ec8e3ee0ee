"""Fits what is shown, and how the project memory is mixed in, to held-out packages."""
