"""Cuts the text of the model until it fits at the cursor and is worth showing."""
