"""Builds and measures the embedded models: data, training, compression, evaluation, load tests, releases.

The package builds on `mercury_lsp.engine` and `mercury_lsp.context`, so training and serving share the network, the
attention mask and the prompt. Nothing in `mercury_lsp` imports this package.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The root folder of the checkout."""
RECIPES = ROOT / "model" / "recipes"
SUITES = ROOT.parent / "shared" / "eval"
"""The public evaluation suites, next to the checkout; their README gives their origin."""
