"""Builds what is trained on: the corpus, the holes in its files, and the batches of each step."""
