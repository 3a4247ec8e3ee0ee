"""Hosted models: how the text around a cursor is sent to one, and what comes back.

Nothing in here runs unless the option `remote` asks for it. Knows neither tensors nor LSP.
"""
