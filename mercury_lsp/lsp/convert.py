"""Converts between the protocol's values and ours: positions, URIs, and the two forms of an answer.

Positions count the units of the negotiated encoding; `Document` counts characters. Paths are POSIX in form on every
platform; the name of a file for the model is not the path that opens it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from posixpath import normpath
from unicodedata import normalize
from urllib.parse import unquote

from lsprotocol import types

from mercury_lsp.completion.types import Completion
from mercury_lsp.syntax.document import Document, well_formed

_URI = re.compile(r"(?:(?P<scheme>[^:/?#]+):)?(?://(?P<host>[^/?#]*))?(?P<path>[^?#]*)")
_DRIVE = re.compile(r"/?([A-Za-z])[:|](?=[/\\]|$)")
_WINDOWS = re.compile(r"[A-Z]:|//|\\\\")
_MAC = re.compile(r"/(Users|Volumes)/", re.IGNORECASE)
_ABSOLUTE = re.compile(r"/|[A-Z]:/")
_PAIRS = frozenset(["()", "[]", "{}", '""', "''", "``"])


def offset(document: Document, position: types.Position, encoding: str) -> int:
    """Where a position is in a document's text, clamped to its line and to the text.

    A position inside of a character, which only a faulty client sends, is where that character begins.
    """
    if position.line >= document.line_count:
        return len(document.text)
    line, units = document.line(position.line), position.character
    if encoding == "utf-8" and not line.isascii():
        units = len(line.encode()[:units].decode(errors="ignore"))
    elif encoding == "utf-16" and not line.isascii():
        units = len(line.encode("utf-16-le")[: 2 * units].decode("utf-16-le", errors="ignore"))
    return document.offset(position.line, units)


def position(document: Document, offset: int, encoding: str) -> types.Position:
    """The position of an offset, which is clamped to the text."""
    line, character = document.position(offset)
    before = document.line(line)[:character]
    if encoding == "utf-8":
        character = len(before.encode())
    elif encoding == "utf-16":
        character = len(before.encode("utf-16-le")) // 2
    return types.Position(line, character)


def span(document: Document, range_: types.Range, encoding: str) -> tuple[int, int]:
    """Offsets of a range's start and end, never the wrong way round."""
    start = offset(document, range_.start, encoding)
    return start, max(start, offset(document, range_.end, encoding))


def cursor(document: Document, start: int, text: str) -> int:
    """Where the cursor probably is after a text was put at `start` of a document, which has it.

    That is behind it, but between a bracket and its closing one, which editors add, at once or right after.
    """
    end = start + len(text)
    return end - (0 < len(text) <= 2 and document.text[max(0, end - 2) : end] in _PAIRS)


def path(uri: str) -> str:
    r"""The path that a URI of any scheme names, with `/` on every platform, or "" where it names none.

    Drive letters are upper case (`C:/x`), for editors disagree on them; a share is `//host/share/x`. There is no `..`
    in it, and no slash at its end. What is no URI but a path of Windows is taken as that.
    """
    parts = _URI.match(uri)
    if parts is None:  # never: every part of the pattern may be empty
        return ""
    scheme, host, name = parts["scheme"] or "", unquote(parts["host"] or ""), unquote(parts["path"])
    if len(scheme) == 1:
        name = f"{scheme}:{name}"
    elif scheme.lower() == "file" and _DRIVE.fullmatch(host):  # a slash was forgotten
        name = host + name
    elif scheme.lower() == "file" and host not in ("", "localhost"):
        name = f"//{host}{name}"
    if drive := _DRIVE.match(name):
        name = f"{drive[1].upper()}:{name[drive.end() :]}"
    if _WINDOWS.match(name):
        name = name.replace("\\", "/")
    return normpath(name) if name else ""


def file(uri: str) -> str:
    """The absolute path that a URI of any scheme names, by which rules are asked about it; "" where it names none.

    A version of a file that an editor shows under a scheme of its own is as private as the file.
    """
    name = path(uri)
    return name if _ABSOLUTE.match(name) else ""


def is_local(uri: str) -> bool:
    """Whether a URI is one of this machine's files, which may be opened under its `path`."""
    return uri[:5].lower() == "file:" and file(uri) != ""


def name(uri: str, roots: Iterable[str]) -> str:
    """What the model is told a document is: its path from the innermost workspace folder, or its bare file name.

    In Unicode's composed form, for on macOS one file has several names. There and on Windows case is no difference
    between folders.
    """
    whole = normalize("NFC", path(uri))
    anyhow = _WINDOWS.match(whole) or _MAC.match(whole)
    for root in sorted(filter(None, roots), key=len, reverse=True):
        folder = normalize("NFC", root).rstrip("/") + "/"
        head = whole[: len(folder)]
        if head == folder or (anyhow and head.lower() == folder.lower()):
            return whole[len(folder) :]
    return whole.rpartition("/")[2]


def accepted(document: Document, chosen: types.SelectedCompletionInfo, encoding: str) -> tuple[Document, int]:
    """The document as if the item that is chosen in the editor's own menu were accepted, and the cursor in it."""
    start, end = span(document, chosen.range, encoding)
    text = well_formed(chosen.text)
    return document.replace(start, end, text, document.version), start + len(text)


def inserted(completion: Completion, document: Document) -> Completion:
    """The same completion as a mere insertion, if the text that it replaces is how it ends; so are its others.

    Neovim hides the rest of the line behind what replaces anything.
    """
    shown, replaced = completion.shown or "", document.text[completion.start : completion.end]
    others = tuple(inserted(other, document) for other in completion.others)
    if not replaced or not shown.endswith(replaced) or shown == replaced:
        return replace(completion, others=others) if others else completion
    return replace(completion, shown=shown[: -len(replaced)], end=completion.start, others=others)


def with_chosen(
    completion: Completion, document: Document, chosen: types.SelectedCompletionInfo, encoding: str
) -> Completion | None:
    """A completion of the `accepted` document as one of the document itself: it begins with the chosen text.

    It replaces just what the chosen item does, for clients hide any other; so None where it would have to replace more.
    """
    if completion.end > completion.start:
        return None
    start, end = span(document, chosen.range, encoding)
    others = (with_chosen(other, document, chosen, encoding) for other in completion.others)
    return replace(
        completion,
        shown=chosen.text + (completion.shown or ""),
        start=start,
        end=end,
        others=tuple(other for other in others if other is not None),
    )


def inline(completion: Completion, document: Document, encoding: str) -> types.InlineCompletionList:
    """Ghost text, and what else may come instead of it."""
    items = []
    for candidate in (completion, *completion.others):
        shown = candidate.shown or ""
        # The client wants what an item replaces to be a prefix of the filter text.
        replaced = document.text[candidate.start : candidate.end]
        filter_text = None if shown.startswith(replaced) else replaced + shown
        range_ = _range(document, candidate.start, candidate.end, encoding)
        items.append(types.InlineCompletionItem(shown, filter_text=filter_text, range=range_))
    return types.InlineCompletionList(items)


def plain(
    completion: Completion, document: Document, encoding: str, as_is: bool = True
) -> types.CompletionList:
    """An entry of a completion menu. It begins with the word at the cursor, by which clients filter their menus.

    `as_is`: the client may be told that the lines are indented already.
    """
    shown = completion.shown or ""
    line, character = document.position(completion.start)
    word = _last_word(document.line(line)[:character])
    text = word + shown
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    more = "\n" in text or "\r" in text
    item = types.CompletionItem(
        # The first line that says something: the text may begin with the end of the cursor's line.
        label=(lines[0] if lines else text) + (" …" if len(lines) > 1 else ""),
        kind=types.CompletionItemKind.Text,
        detail="mercury",
        documentation=text if more else None,
        preselect=True,
        filter_text=text,
        insert_text_format=types.InsertTextFormat.PlainText,
        insert_text_mode=types.InsertTextMode.AsIs if as_is else None,
        text_edit=types.TextEdit(
            range=_range(document, completion.start - len(word), completion.end, encoding), new_text=text
        ),
    )
    return types.CompletionList(is_incomplete=True, items=[item])


def _last_word(text: str) -> str:
    start = len(text)
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    return text[start:]


def _range(document: Document, start: int, end: int, encoding: str) -> types.Range:
    return types.Range(position(document, start, encoding), position(document, end, encoding))
