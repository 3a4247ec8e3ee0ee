"""A stem of nothing, for tests whose cursor stands where a pre-token begins."""

from __future__ import annotations

from typing import cast

from mercury_lsp.engine.decoding.healing import Stem, TokenBytes

NO_STEM = Stem(cast(TokenBytes, None), b"")  # without a stem nobody looks at the tokens
