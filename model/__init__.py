"""Makes and measures the embedded models: data, training, compression, evaluation, load tests, releases.

It builds on `mercury_lsp.engine` and `mercury_lsp.context`, so that training and serving share one network, one noise
and one prompt. Nothing in `mercury_lsp` imports it.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
RECIPES = ROOT / "model" / "recipes"
SUITES = ROOT.parent / "shared" / "eval"
"""The public suites, beside the checkout; their README tells their origin."""
