"""Cuts the model's text until it fits at the cursor and is worth showing."""
