"""Builds the training data: the corpus, the holes in its files, and the batches of each step."""
