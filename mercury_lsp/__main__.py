"""Runs the command line: ``python -m mercury_lsp``."""

from __future__ import annotations

import sys

from mercury_lsp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
