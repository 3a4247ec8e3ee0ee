"""Defines the prompt as text, its tokens, and the special tokens that lay it out.

Training and serving both call `encode_prompt`, the one definition of the layout:
``<file_sep> related ... <fim_suffix> following <fim_prefix> path, prefix <fim_rest> rest <fim_middle>``.
The following lines come first and the short rest of the cursor's line comes late. So typing leaves everything before
the cursor's line unchanged, and its keys and values stay in the cache. This module imports no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer as _Vocabulary

STEM_CHARACTERS = 96
"""Length of the longest stem. A longer pre-token is no word to complete, so the prompt keeps it whole."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of another file of the workspace."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The part of a document that the model sees, as text whose lines end with ``\\n``.

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
    """An earlier middle at this cursor, ``text``, and the characters ``typed`` since then.

    A hint makes decoding shorter if it still holds, and never changes the result.
    """

    text: str
    typed: str = ""

    @property
    def left(self) -> str:
        """The part of the text that is not typed yet; empty if something else was typed."""
        return self.text[len(self.typed) :] if self.text.startswith(self.typed) else ""


@cache
def _byte_letters() -> dict[str, int]:
    """The byte of each letter in byte-level BPE (Radford et al. 2019, GPT-2).

    Printable bytes stand for themselves; the others are, in order, the letters from U+0100 on.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


class Vocabulary:
    """Byte-level BPE in which every text is plain text, special strings included."""

    FILE = "tokenizer.json"

    def __init__(self, vocabulary: _Vocabulary) -> None:
        self._vocabulary = vocabulary
        vocabulary.encode_special_tokens = True
        self.added: dict[str, int] = {
            token.content: i for i, token in vocabulary.get_added_tokens_decoder().items()
        }
        """Ids, by their names, of the tokens that no text can be encoded as."""

    @property
    def size(self) -> int:
        """The number of ids."""
        return int(self._vocabulary.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without special tokens."""
        return list(self._vocabulary.encode(text, add_special_tokens=False).ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of several texts, each as by `encode`; on several threads, without the interpreter's lock."""
        encodings = self._vocabulary.encode_batch_fast(list(texts), add_special_tokens=False)
        return [list(encoding.ids) for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids; special tokens give no text, bytes that are not UTF-8 give U+FFFD."""
        return str(self._vocabulary.decode(list(ids), skip_special_tokens=True))

    def token_bytes(self) -> list[bytes]:
        """The bytes of each token, by id; empty for special tokens, and for those that are spelt in no bytes'
        letters."""
        letters = _byte_letters()
        added = set(self.added.values())
        spelt = (("" if i in added else self._vocabulary.id_to_token(i) or "") for i in range(self.size))

        def bytes_of(token: str) -> bytes:
            try:
                return bytes([letters[letter] for letter in token])
            except KeyError:
                return b""

        return [bytes_of(token) for token in spelt]

    def newlines(self) -> frozenset[int]:
        """Ids of the tokens with a newline in their text."""
        # Byte-level BPE spells the byte 0x0A, and only this one, as the letter below.
        token = self._vocabulary.id_to_token
        return frozenset(i for i in range(self.size) if "Ċ" in (token(i) or ""))

    def count(self, text: str) -> int:
        """The number of tokens in a text."""
        return len(self._vocabulary.encode(text, add_special_tokens=False).ids)

    def stem_start(self, text: str) -> int:
        """Index of the first character of the last pre-token; the text's length if there is none to cut off.

        No merge of byte-pair encoding crosses the boundary of a pre-token (letters with the blank before them, digits,
        punctuation, a run of blanks). So a prompt that ends there ends in a token that occurs in training data. The
        engine generates the text after it again (token healing, Lundberg 2023; FIM-SE, Ren et al. 2024). Takes 30 µs.
        """
        near = text[-2 * STEM_CHARACTERS :]
        splitter = self._vocabulary.pre_tokenizer
        pieces = splitter.pre_tokenize_str(near) if splitter is not None else []
        if not pieces:
            return len(text)
        start = len(text) - len(near) + pieces[-1][1][0]
        return start if len(text) - start <= STEM_CHARACTERS else len(text)


def read_vocabulary(text: str, source: str) -> _Vocabulary:
    """Parse a tokenizer's JSON; ``source`` is the file's name for the message. Raises ``ValueError``."""
    try:
        return _Vocabulary.from_str(text)
    except Exception as error:
        # The library raises no narrower class.
        raise ValueError(f"its {source} cannot be read ({error})") from error


class Tokenizer(Vocabulary):
    """The vocabulary of our own checkpoints, with the special tokens of a prompt's layout."""

    def __init__(self, vocabulary: _Vocabulary) -> None:
        super().__init__(vocabulary)
        by_name = self.added
        if missing := [name for name in Specials.__dataclass_fields__ if f"<{name}>" not in by_name]:
            raise ValueError(f"its {self.FILE} has no token <{missing[0]}>")
        self.specials = Specials(**{name: by_name[f"<{name}>"] for name in Specials.__dataclass_fields__})
        self.hidden: tuple[int, ...] = tuple(sorted(i for i in by_name.values() if i != self.specials.eot))
        """Ids that the sampler must never emit: every special token except ``<eot>``."""

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` from a checkpoint's folder. Raises ``OSError`` or ``ValueError``."""
        return cls(read_vocabulary((folder / cls.FILE).read_text(encoding="utf-8"), cls.FILE))


def encode_prompt(prompt: Prompt, tokenizer: Tokenizer) -> tuple[int, ...]:
    """Ids of all that the model reads before the middle, up to and including ``<fim_middle>``."""
    special = tokenizer.specials
    ids: list[int] = []
    for snippet in prompt.related:
        ids += [special.file_sep, *tokenizer.encode(f"{snippet.path}\n{snippet.text}")]
    ids += [special.fim_suffix, *tokenizer.encode(prompt.following)]
    header = f"{prompt.path}\n" if prompt.path else ""
    ids += [special.fim_prefix, *tokenizer.encode(header + prompt.prefix)]
    ids += [special.fim_rest, *tokenizer.encode(prompt.rest)]
    return (*ids, special.fim_middle)
