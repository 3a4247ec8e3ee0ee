"""The tokenizer of an open checkpoint: its own special tokens, and a user's text that can never be one of them.

Owns the reading of such a ``tokenizer.json``. Which special token means what is `families`'.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer as _Vocabulary

from mercury_lsp.engine.canvas import Vocabulary


class OpenTokenizer(Vocabulary):
    """Byte-level BPE with the special tokens of an open model."""

    @classmethod
    def load(cls, folder: Path) -> OpenTokenizer:
        """Read it from a checkpoint's folder. Raises ``OSError`` or ``ValueError``."""
        path = folder / cls.FILE
        if not path.is_file():
            raise ValueError(f"its {cls.FILE} is missing")
        content = json.loads(path.read_text(encoding="utf-8"))
        for token in content.get("added_tokens", ()):
            token["special"] = True  # some are declared as text, and what a user has typed would become them
        try:
            tokenizer = cls(_Vocabulary.from_str(json.dumps(content)))
        except Exception as error:  # the library raises nothing more exact
            raise ValueError(f"its {cls.FILE} cannot be read ({error})") from error
        if not tokenizer.newlines():
            raise ValueError("its tokenizer is not byte-level, so that no line's end can be told in it")
        return tokenizer
