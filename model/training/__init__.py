"""Trains a network: objective, layout of rows, optimizers, the run and the campaign in the background."""
