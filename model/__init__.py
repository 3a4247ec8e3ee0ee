"""The workshop where the embedded model is made: corpus, holes, objective, training, evaluation.

It builds on :mod:`mercury_lsp.engine` and :mod:`mercury_lsp.context`, so that training and serving share one
network, one noise and one prompt. Nothing in :mod:`mercury_lsp` imports it.
"""
