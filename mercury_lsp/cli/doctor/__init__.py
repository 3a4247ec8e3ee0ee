"""Checks an installation for ``mercury-lsp doctor``."""

from mercury_lsp.cli.doctor.command import run

__all__ = ["run"]
