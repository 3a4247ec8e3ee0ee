"""Trains a network: objective, layout of rows, optimizers, the training run and the background campaign."""
