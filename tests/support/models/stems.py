"""An empty stem, for tests with the cursor at the beginning of a pre-token."""

from __future__ import annotations

from typing import cast

from mercury_lsp.engine.decoding.healing import Stem, TokenBytes

# An empty stem never uses the tokens.
NO_STEM = Stem(cast(TokenBytes, None), b"")
