"""Defines the prompt as text, its encoding to tokens, and the special tokens between its parts.

Training and serving both call `encode_prompt`, the one definition of the layout:
``<file_sep> related ... <fim_suffix> following <fim_prefix> path, prefix <fim_rest> rest <fim_middle>``.
The following lines come first and the short rest of the cursor's line comes late. So typing leaves all tokens before
the cursor's line unchanged, and their keys and values stay in the cache. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer as _Vocabulary

STEM_CHARACTERS = 96
"""The longest stem. A longer pre-token is not a word to complete, so the prompt keeps it whole."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part of another file of the workspace."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that the model sees: parts of the document and of related files. Lines end with ``\\n``.

    ``path``: workspace-relative and POSIX, or empty. ``prefix``: the window before the cursor, up to the start of its
    last pre-token. ``stem``: the text from there to the cursor; every middle begins with it. ``rest``: the rest of the
    cursor's line without the line ending. ``following``: starts with that line ending, or is empty.
    """

    path: str
    prefix: str
    rest: str
    following: str
    related: tuple[Snippet, ...] = ()
    stem: str = ""


@dataclass(frozen=True, slots=True)
class Specials:
    """Ids of the special tokens. No text can be encoded as one of them."""

    eot: int
    mask: int
    file_sep: int
    fim_prefix: int
    fim_suffix: int
    fim_rest: int
    fim_middle: int


@dataclass(frozen=True, slots=True)
class Hint:
    """An earlier middle at this place, ``text``, and the characters ``typed`` since then.

    A hint that still holds saves passes. A hint never changes the result.
    """

    text: str
    typed: str = ""

    @property
    def untyped(self) -> str:
        """The part of the text that is not typed yet; empty if the typed characters differ from the text."""
        return self.text[len(self.typed) :] if self.text.startswith(self.typed) else ""


@cache
def _byte_letters() -> dict[str, int]:
    """Return the byte for each character of byte-level BPE's alphabet (Radford et al. 2019, GPT-2).

    Printable bytes stand for themselves; the others are, in order, the characters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


class Vocabulary:
    """A byte-level BPE vocabulary that encodes every text as plain text, including the names of special tokens."""

    FILE = "tokenizer.json"

    def __init__(self, vocabulary: _Vocabulary) -> None:
        self._vocabulary = vocabulary
        vocabulary.encode_special_tokens = True
        self.added: dict[str, int] = {
            token.content: i for i, token in vocabulary.get_added_tokens_decoder().items()
        }
        """Ids of the special tokens by name; no text is encoded as one of them."""

    @property
    def size(self) -> int:
        """The number of ids."""
        return int(self._vocabulary.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, without special tokens."""
        return list(self._vocabulary.encode(text, add_special_tokens=False).ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, like `encode`, computed on several threads without the GIL."""
        encodings = self._vocabulary.encode_batch_fast(list(texts), add_special_tokens=False)
        return [list(encoding.ids) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids; special tokens have no text, and bytes that are not UTF-8 become U+FFFD."""
        return str(self._vocabulary.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self) -> list[bytes]:
        """Return the bytes of each token, by id.

        They are empty for special tokens, and for tokens that are not spelled in the alphabet of byte-level BPE.
        """
        letters = _byte_letters()
        added = set(self.added.values())
        spellings = (("" if i in added else self._vocabulary.id_to_token(i) or "") for i in range(self.size))

        def bytes_of(token: str) -> bytes:
            try:
                return bytes([letters[letter] for letter in token])
            except KeyError:
                return b""

        return [bytes_of(token) for token in spellings]

    def newlines(self) -> frozenset[int]:
        """Return the ids of the tokens that contain a newline."""
        # Byte-level BPE spells the byte 0x0A, and no other, as the character below.
        token = self._vocabulary.id_to_token
        return frozenset(i for i in range(self.size) if "Ċ" in (token(i) or ""))

    def count(self, text: str) -> int:
        """Return the number of tokens in a text."""
        return len(self._vocabulary.encode(text, add_special_tokens=False).ids)

    def stem_start(self, text: str) -> int:
        """Return the index at which the last pre-token begins; the text's length if there is no stem to cut off.

        No BPE merge crosses the boundary of a pre-token (letters with the blank before them, digits, punctuation, a run
        of blanks). So a prompt that ends there ends in a token that occurs in training data. The engine generates the
        text after it again (token healing, Lundberg 2023; FIM-SE, Ren et al. 2024). Takes 30 µs.
        """
        near = text[-2 * STEM_CHARACTERS :]
        splitter = self._vocabulary.pre_tokenizer
        pieces = splitter.pre_tokenize_str(near) if splitter is not None else []
        if not pieces:
            return len(text)
        start = len(text) - len(near) + pieces[-1][1][0]
        return start if len(text) - start <= STEM_CHARACTERS else len(text)


def read_vocabulary(text: str, source: str) -> _Vocabulary:
    """Parse a tokenizer's JSON; ``source``: the file's name, for the error message. Raises ``ValueError``."""
    try:
        return _Vocabulary.from_str(text)
    except Exception as error:
        # The library raises no narrower class.
        raise ValueError(f"its {source} cannot be read ({error})") from error


class Tokenizer(Vocabulary):
    """The vocabulary of our own checkpoints, with the special tokens of `encode_prompt`."""

    def __init__(self, vocabulary: _Vocabulary) -> None:
        super().__init__(vocabulary)
        by_name = self.added
        if missing := [name for name in Specials.__dataclass_fields__ if f"<{name}>" not in by_name]:
            raise ValueError(f"its {self.FILE} has no token <{missing[0]}>")
        self.specials = Specials(**{name: by_name[f"<{name}>"] for name in Specials.__dataclass_fields__})
        self.forbidden: tuple[int, ...] = tuple(sorted(i for i in by_name.values() if i != self.specials.eot))
        """Ids that the sampler must never emit: every special token except ``<eot>``."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` from a checkpoint's folder. Raises ``OSError`` or ``ValueError``."""
        return cls(read_vocabulary((folder / cls.FILE).read_text(encoding="utf-8"), cls.FILE))


def encode_prompt(prompt: Prompt, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return the ids of all tokens that the model reads before the middle, up to and including ``<fim_middle>``."""
    special = tokenizer.specials
    ids: list[int] = []
    for snippet in prompt.related:
        ids += [special.file_sep, *tokenizer.encode(f"{snippet.path}\n{snippet.text}")]
    ids += [special.fim_suffix, *tokenizer.encode(prompt.following)]
    header = f"{prompt.path}\n" if prompt.path else ""
    ids += [special.fim_prefix, *tokenizer.encode(header + prompt.prefix)]
    ids += [special.fim_rest, *tokenizer.encode(prompt.rest)]
    return (*ids, special.fim_middle)
