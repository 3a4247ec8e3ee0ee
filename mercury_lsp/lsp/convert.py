"""Converts between the protocol's values and ours: positions, URIs, and the two forms of a completion.

Positions count code units of the negotiated encoding; `Document` counts characters. Paths have POSIX form on every
platform; the name of a file that the model sees differs from the path that opens it.
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
    """Return the offset of a position in a document, clamped to the line and the text.

    A position inside a character, which only a faulty client sends, becomes the start of that character.
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
    """Return the position of an offset, which is clamped to the text."""
    line, character = document.position(offset)
    before = document.line(line)[:character]
    if encoding == "utf-8":
        character = len(before.encode())
    elif encoding == "utf-16":
        character = len(before.encode("utf-16-le")) // 2
    return types.Position(line, character)


def span(document: Document, range_: types.Range, encoding: str) -> tuple[int, int]:
    """Return the start and end offsets of a range; the end is never before the start."""
    start = offset(document, range_.start, encoding)
    return start, max(start, offset(document, range_.end, encoding))


def guess_cursor(document: Document, start: int, text: str) -> int:
    """Guess the cursor after `text` was inserted at `start`; the document already contains the text.

    The cursor is after the text, or, if the text completes a pair of brackets or quotes, between them: editors insert
    the closing one together with the opening one or right after it.
    """
    end = start + len(text)
    return end - (0 < len(text) <= 2 and document.text[max(0, end - 2) : end] in _PAIRS)


def path(uri: str) -> str:
    r"""Return the path that a URI of any scheme names, with `/` on every platform, or "" if it names none.

    Drive letters are upper case (`C:/x`) because editors disagree on their case; a share is `//host/share/x`. The path
    is normalized: no `..`, no slash at the end. A Windows path in place of a URI is accepted.
    """
    parts = _URI.match(uri)
    # Never happens: every part of the pattern may be empty.
    if parts is None:
        return ""
    scheme, host, name = parts["scheme"] or "", unquote(parts["host"] or ""), unquote(parts["path"])
    if len(scheme) == 1:
        name = f"{scheme}:{name}"
    # The client forgot a slash: `file://C:/x`.
    elif scheme.lower() == "file" and _DRIVE.fullmatch(host):
        name = host + name
    elif scheme.lower() == "file" and host not in ("", "localhost"):
        name = f"//{host}{name}"
    if drive := _DRIVE.match(name):
        name = f"{drive[1].upper()}:{name[drive.end() :]}"
    if _WINDOWS.match(name):
        name = name.replace("\\", "/")
    return normpath(name) if name else ""


def absolute_path(uri: str) -> str:
    """Return the absolute path that a URI of any scheme names, for checks of ignore rules, or "" if it names none.

    A version of a file that an editor shows under its own scheme is as private as the file.
    """
    name = path(uri)
    return name if _ABSOLUTE.match(name) else ""


def is_local(uri: str) -> bool:
    """Return whether a URI names a file of this machine, which may be opened by its `path`."""
    return uri[:5].lower() == "file:" and absolute_path(uri) != ""


def document_path(uri: str, roots: Iterable[str]) -> str:
    """Return the name of a document for the model: its path in the innermost workspace folder, or its bare file name.

    The name is in Unicode's composed form (NFC), because macOS has several names for one file. On macOS and Windows,
    folders match regardless of case.
    """
    whole = normalize("NFC", path(uri))
    ignore_case = _WINDOWS.match(whole) or _MAC.match(whole)
    for root in sorted(filter(None, roots), key=len, reverse=True):
        folder = normalize("NFC", root).rstrip("/") + "/"
        head = whole[: len(folder)]
        if head == folder or (ignore_case and head.lower() == folder.lower()):
            return whole[len(folder) :]
    return whole.rpartition("/")[2]


def accept_selected(
    document: Document, selected: types.SelectedCompletionInfo, encoding: str
) -> tuple[Document, int]:
    """Return the document as if the item selected in the editor's menu were accepted, and the cursor in it."""
    start, end = span(document, selected.range, encoding)
    text = well_formed(selected.text)
    return document.replace(start, end, text, document.version), start + len(text)


def as_insertion(completion: Completion, document: Document) -> Completion:
    """Return the completion as a pure insertion if its text ends with the text that it replaces; likewise its others.

    Neovim hides the rest of the line if a completion replaces any text.
    """
    shown, replaced = completion.shown or "", document.text[completion.start : completion.end]
    others = tuple(as_insertion(other, document) for other in completion.alternatives)
    if not replaced or not shown.endswith(replaced) or shown == replaced:
        return replace(completion, alternatives=others) if others else completion
    return replace(completion, shown=shown[: -len(replaced)], end=completion.start, alternatives=others)


def with_selected(
    completion: Completion, document: Document, selected: types.SelectedCompletionInfo, encoding: str
) -> Completion | None:
    """Return a completion after `accept_selected` as one of the original document: it starts with the selected item.

    It replaces exactly the range of the selected item, because clients hide any other. Returns None if it would have to
    replace more.
    """
    if completion.end > completion.start:
        return None
    start, end = span(document, selected.range, encoding)
    others = (with_selected(other, document, selected, encoding) for other in completion.alternatives)
    return replace(
        completion,
        shown=selected.text + (completion.shown or ""),
        start=start,
        end=end,
        alternatives=tuple(other for other in others if other is not None),
    )


def inline_completion_list(
    completion: Completion, document: Document, encoding: str
) -> types.InlineCompletionList:
    """Return a completion and its alternatives as ghost text."""
    items = []
    for candidate in (completion, *completion.alternatives):
        shown = candidate.shown or ""
        # Clients show an item only if the text that it replaces is a prefix of the filter text.
        replaced = document.text[candidate.start : candidate.end]
        filter_text = None if shown.startswith(replaced) else replaced + shown
        range_ = _range(document, candidate.start, candidate.end, encoding)
        items.append(types.InlineCompletionItem(shown, filter_text=filter_text, range=range_))
    return types.InlineCompletionList(items)


def completion_list(
    completion: Completion, document: Document, encoding: str, as_is: bool = True
) -> types.CompletionList:
    """Return a completion as a menu entry. It starts with the word at the cursor, by which clients filter their menus.

    `as_is`: the client supports text whose lines are already indented.
    """
    shown = completion.shown or ""
    line, character = document.position(completion.start)
    word = _last_word(document.line(line)[:character])
    text = word + shown
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    is_multiline = "\n" in text or "\r" in text
    item = types.CompletionItem(
        # The first non-blank line: the text may start with the end of the cursor's line.
        label=(lines[0] if lines else text) + (" …" if len(lines) > 1 else ""),
        kind=types.CompletionItemKind.Text,
        detail="mercury",
        documentation=text if is_multiline else None,
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
