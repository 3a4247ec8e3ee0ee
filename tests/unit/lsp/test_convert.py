"""Positions, URIs and answers, as data."""

from __future__ import annotations

from dataclasses import replace
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol.types import Position, Range, SelectedCompletionInfo

from mercury_lsp.completion.types import Completion
from mercury_lsp.engine.api import Infill
from mercury_lsp.lsp import convert
from mercury_lsp.syntax.document import Document

ENCODINGS = ["utf-8", "utf-16", "utf-32"]
NO_INFILL = Infill("", 0, 0, 0, 0.0, 0.0, 0.0, 0, 0, 0.0, True)


def document(text: str) -> Document:
    return Document("file:///w/a.py", "a.py", "python", 1, text)


def suggestion(shown: str, start: int, end: int | None = None) -> Completion:
    return Completion(shown, shown, start, start if end is None else end, NO_INFILL)


@pytest.mark.parametrize(("encoding", "column"), [("utf-8", 11), ("utf-16", 6), ("utf-32", 5)])
def test_columns_count_the_units_of_the_encoding(encoding: str, column: int) -> None:
    text = "é€a😀b;\r\n\x0c\u2028x"  # 2 + 3 + 1 + 4 + 1 bytes before the semicolon
    assert convert.offset(document(text), Position(0, column), encoding) == 5
    assert convert.position(document(text), 5, encoding) == Position(0, column)


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(text=st.text(alphabet="aé€😀\r\n\x0c\x0b\x85\u2028\u2029 ", max_size=40), data=st.data())
def test_every_place_has_one_position(encoding: str, text: str, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(text)))
    if text[offset - 1 : offset + 1] == "\r\n" and offset > 0:
        offset -= 1  # no position is inside of a line's ending
    place = convert.position(document(text), offset, encoding)
    assert convert.offset(document(text), place, encoding) == offset
    assert place.line == len([c for c in text[:offset].replace("\r\n", "\n") if c in "\r\n"])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("place", "offset"),
    [(Position(0, 99), 3), (Position(1, 2**31 - 1), 6), (Position(2, 0), 7), (Position(9, 9), 7)],
)
def test_positions_out_of_range_are_clamped(encoding: str, place: Position, offset: int) -> None:
    assert convert.offset(document("añb\n€d\n"), place, encoding) == offset


@pytest.mark.parametrize(
    ("before", "typed", "after", "back"),
    [
        ("x = f", "a", "", 0),
        ("x = f", "()", "", 1),
        ("x = f(", ")", "", 1),  # the bracket before it came in a change of its own
        ("x = f(a", ")", "", 0),
        ("x = f", "()\n", "", 0),
        ("x = ", "f()", "", 0),  # an accepted suggestion
        ("x = f(", "", ")", 0),  # something was deleted
        ("", ")", "", 0),
    ],
)
def test_where_the_cursor_is_after_a_change(before: str, typed: str, after: str, back: int) -> None:
    there = document(before + typed + after)
    assert convert.guess_cursor(there, len(before), typed) == len(before + typed) - back


def test_a_position_inside_of_a_character_is_where_it_begins() -> None:
    assert convert.offset(document("a😀b"), Position(0, 2), "utf-16") == 1
    assert convert.offset(document("a😀b"), Position(0, 4), "utf-8") == 1


def test_a_range_the_wrong_way_round_is_empty() -> None:
    assert convert.span(document("abc\n"), Range(Position(0, 2), Position(0, 1)), "utf-16") == (2, 2)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///home/u/a%20b%23c.py", "/home/u/a b#c.py"),
        ("file:///Users/u/caf%C3%A9/%E6%96%87.py", "/Users/u/café/文.py"),
        ("file:///Users/u/cafe%CC%81.py", "/Users/u/cafe\u0301.py"),
        ("file:///c%3A/Users/u/a.py", "C:/Users/u/a.py"),
        ("file:///C:/Users/u/a.py", "C:/Users/u/a.py"),
        ("file:///c:", "C:"),
        ("file://server/share/a.py", "//server/share/a.py"),
        ("file://wsl%24/Ubuntu/a.py", "//wsl$/Ubuntu/a.py"),
        ("file://localhost/home/u/a.py", "/home/u/a.py"),
        ("file:/home/u/a.py", "/home/u/a.py"),
        ("FILE:///home/u/a.py", "/home/u/a.py"),
        ("untitled:Untitled-1", "Untitled-1"),
        ("untitled:/home/u/new.py", "/home/u/new.py"),
        ("vscode-notebook-cell:/home/u/n.ipynb#W0sZmlsZQ%3D%3D", "/home/u/n.ipynb"),
        ("vscode-notebook-cell://ssh-remote%2Bhost/home/u/n.ipynb#X1", "/home/u/n.ipynb"),
        ("git:/home/u/a.py?%7B%22ref%22%3A%22HEAD%22%7D", "/home/u/a.py"),
        ("file:///home/u/%FF%zz.py", "/home/u/\ufffd%zz.py"),
        ("", ""),
        ("file://", ""),
        ("http://[bad", ""),
        ("::::", "::::"),
    ],
)
def test_paths_of_uris(uri: str, path: str) -> None:
    assert convert.path(uri) == path


@given(st.text())
def test_no_uri_is_an_error(uri: str) -> None:
    assert "/" not in convert.document_path(uri, [convert.path(uri)])


@pytest.mark.parametrize(
    ("uri", "roots", "name"),
    [
        ("file:///w/src/a.py", ["/w"], "src/a.py"),
        ("file:///w/src/a.py", ["/w/", "/w/src"], "a.py"),
        ("file:///w/src/a.py", ["/"], "w/src/a.py"),
        ("file:///work/a.py", ["/w"], "a.py"),
        ("file:///else/where/a.py", ["/w"], "a.py"),
        ("file:///c%3A/W/src/a.py", ["C:/w"], "src/a.py"),
        ("file://server/Share/x/a.py", ["//server/share"], "x/a.py"),
        ("file:///W/a.py", ["/w"], "a.py"),
        ("untitled:Untitled-1", ["/w"], "Untitled-1"),
        ("file:///w/a.py", [], "a.py"),
        ("", ["/w"], ""),
    ],
)
def test_names_of_documents(uri: str, roots: list[str], name: str) -> None:
    assert convert.document_path(uri, roots) == name


CAFE_NFC, CAFE_NFD = "caf\u00e9", "cafe\u0301"
EDITORS = [
    # A document's URI, the workspace folder's, the document's path, what the model is told.
    # VS Code on Windows: a small drive letter, and its colon as %3A.
    ("file:///c%3A/Users/u/w/src/a.py", "file:///c%3A/Users/u/w", "C:/Users/u/w/src/a.py", "src/a.py"),
    ("file:///c%3A/Users/u/w/a%20b.py", "file:///c%3A/Users/u/w", "C:/Users/u/w/a b.py", "a b.py"),
    ("file:///c%3A/Users/u/w/100%25.py", "file:///c%3A/Users/u/w", "C:/Users/u/w/100%.py", "100%.py"),
    ("file:///c%3A/Users/u/w/a%2520b.py", "file:///c%3A/Users/u/w", "C:/Users/u/w/a%20b.py", "a%20b.py"),
    ("file:///c%3A/Users/u/w/%23%3F.py", "file:///c%3A/Users/u/w", "C:/Users/u/w/#?.py", "#?.py"),
    ("file:///d%3A/a.py", "file:///d%3A/", "D:/a.py", "a.py"),
    ("file:///d%3A/w/a.py", "file:///c%3A/w", "D:/w/a.py", "a.py"),
    ("file:///c%3A/", "file:///c%3A/", "C:", "C:"),
    ("file:///C%3A/Users/U/W/A.py", "file:///c%3A/users/u/w", "C:/Users/U/W/A.py", "A.py"),
    ("file:///c%3A/Users/u/W/src/a.py", "file:///c%3A/Users/u/w/", "C:/Users/u/W/src/a.py", "src/a.py"),
    ("file:///c%3A/Users/M%C3%BCller/a.py", "file:///c%3A/Users/m%C3%BCller", "C:/Users/Müller/a.py", "a.py"),
    ("file://server/share/w/a.py", "file://server/share/w", "//server/share/w/a.py", "a.py"),
    ("file://SERVER/Share/w/a.py", "file://server/share/w", "//SERVER/Share/w/a.py", "a.py"),
    ("file://server/share/a%20b.py", "file://server/share", "//server/share/a b.py", "a b.py"),
    ("file://server/c%24/w/a.py", "file://server/c%24/w", "//server/c$/w/a.py", "a.py"),
    ("file://192.168.0.9/share/a.py", "file://192.168.0.9/share/", "//192.168.0.9/share/a.py", "a.py"),
    ("file://wsl.localhost/Ubuntu/home/u/w/a.py", "file://wsl.localhost/Ubuntu/home/u/w",
     "//wsl.localhost/Ubuntu/home/u/w/a.py", "a.py"),
    ("file://wsl%24/Ubuntu/home/u/a.py", "file://wsl%24/Ubuntu/home/u", "//wsl$/Ubuntu/home/u/a.py", "a.py"),
    ("untitled:Untitled-1", "file:///c%3A/w", "Untitled-1", "Untitled-1"),
    ("untitled:c%3A%5Cw%5Cnew.py", "file:///c%3A/w", "C:/w/new.py", "new.py"),
    ("untitled:c:\\w\\src\\new.py", "file:///c%3A/w", "C:/w/src/new.py", "src/new.py"),
    ("untitled:/c%3A/w/new.py", "file:///c%3A/w", "C:/w/new.py", "new.py"),
    ("vscode-notebook-cell:/c%3A/w/n.ipynb#W2sZmlsZQ%3D%3D", "file:///c%3A/w", "C:/w/n.ipynb", "n.ipynb"),
    ("git:/c%3A/w/src/a.py?%7B%22path%22%3A%22c%3A%5C%5Cw%22%7D", "file:///c%3A/w", "C:/w/src/a.py", "src/a.py"),
    ("vscode-userdata:/c%3A/Users/u/settings.json", "file:///c%3A/w", "C:/Users/u/settings.json", "settings.json"),
    # Neovim on Windows: the drive letter as the user typed it, its colon as it is.
    ("file:///C:/Users/u/w/src/a.py", "file:///C:/Users/u/w", "C:/Users/u/w/src/a.py", "src/a.py"),
    ("file:///c:/Users/u/w/a.py", "file:///C:/Users/u/w", "C:/Users/u/w/a.py", "a.py"),
    ("file:///C:/w/%5Bid%5D.ts", "file:///C:/w", "C:/w/[id].ts", "[id].ts"),
    ("file:///C:/w/[id].ts", "file:///c%3A/w", "C:/w/[id].ts", "[id].ts"),
    ("file:////server/share/w/a.py", "file:////server/share/w", "//server/share/w/a.py", "a.py"),
    ("file://server/share/w/a.py", "file:////server/share/w", "//server/share/w/a.py", "a.py"),
    # Helix on Windows (the url crate), Emacs (eglot, lsp-mode).
    ("file:///C:/w/a%20b.rs", "file:///C:/w", "C:/w/a b.rs", "a b.rs"),
    ("file:///c%3a/w/a.el", "file:///c%3a/w/", "C:/w/a.el", "a.el"),
    ("file:///c:/w/a.el", "file:///c%3a/w/", "C:/w/a.el", "a.el"),
    ("file:///ssh%3Ahost%3A/home/u/w/a.el", "file:///ssh%3Ahost%3A/home/u/w/", "/ssh:host:/home/u/w/a.el", "a.el"),
    # What is no good URI of Windows, and yet is sent.
    ("file://C:/w/a.py", "file:///c%3A/w", "C:/w/a.py", "a.py"),
    ("file://c%3A/w/a.py", "file:///C:/w", "C:/w/a.py", "a.py"),
    ("file:///C|/w/a.py", "file:///C:/w", "C:/w/a.py", "a.py"),
    ("file:c:/w/a.py", "file:///C:/w", "C:/w/a.py", "a.py"),
    ("file:///C:\\w\\src\\a.py", "file:///C:/w", "C:/w/src/a.py", "src/a.py"),
    ("file:///c%3A%5Cw%5Csrc%5Ca.py", "file:///C:/w", "C:/w/src/a.py", "src/a.py"),
    ("C:\\w\\src\\a.py", "c:\\w", "C:/w/src/a.py", "src/a.py"),
    ("c:/w/src/a.py", "file:///C:/w", "C:/w/src/a.py", "src/a.py"),
    ("\\\\server\\share\\w\\a.py", "file://server/share/w", "//server/share/w/a.py", "a.py"),
    # macOS: names composed or not, case that makes no difference.
    ("file:///Users/u/w/src/a.py", "file:///Users/u/w", "/Users/u/w/src/a.py", "src/a.py"),
    ("file:///Users/u/W/src/a.py", "file:///users/u/w", "/Users/u/W/src/a.py", "src/a.py"),
    ("file:///Volumes/Disk%201/w/a.py", "file:///Volumes/disk%201/w/", "/Volumes/Disk 1/w/a.py", "a.py"),
    ("file:///Users/u/caf%C3%A9/a.py", "file:///Users/u/cafe%CC%81", f"/Users/u/{CAFE_NFC}/a.py", "a.py"),
    ("file:///Users/u/cafe%CC%81/a.py", "file:///Users/u/caf%C3%A9", f"/Users/u/{CAFE_NFD}/a.py", "a.py"),
    ("file:///Users/u/w/cafe%CC%81.py", "file:///Users/u/w", f"/Users/u/w/{CAFE_NFD}.py", f"{CAFE_NFC}.py"),
    (f"file:///Users/u/w/{CAFE_NFD}.py", "file:///Users/u/w", f"/Users/u/w/{CAFE_NFD}.py", f"{CAFE_NFC}.py"),
    ("file:///Users/u/w/%EA%B0%80.py", "file:///Users/u/w", "/Users/u/w/가.py", "가.py"),
    ("file:///Users/u/w/%E1%84%80%E1%85%A1.py", "file:///Users/u/w", "/Users/u/w/가.py", "가.py"),
    ("file:///private/var/folders/x/a.py", "file:///private/var/folders", "/private/var/folders/x/a.py", "x/a.py"),
    ("untitled:/Users/u/w/new.swift", "file:///Users/u/w", "/Users/u/w/new.swift", "new.swift"),
    ("vscode-notebook-cell:/Users/u/w/n.ipynb#X1sZmlsZQ%3D%3D", "file:///Users/u/w", "/Users/u/w/n.ipynb", "n.ipynb"),
    # Linux, and what comes through VS Code's remote windows.
    ("file:///home/u/w/src/a.py", "file:///home/u/w/", "/home/u/w/src/a.py", "src/a.py"),
    ("file:///home/u/W/src/a.py", "file:///home/u/w", "/home/u/W/src/a.py", "a.py"),
    ("file:/home/u/w/src/a.py", "file:///home/u/w", "/home/u/w/src/a.py", "src/a.py"),
    ("file://localhost/home/u/w/a.py", "file:///home/u/w", "/home/u/w/a.py", "a.py"),
    ("/home/u/w/src/a.py", "/home/u/w", "/home/u/w/src/a.py", "src/a.py"),
    ("file:///home/u/w/a%5Cb.py", "file:///home/u/w", "/home/u/w/a\\b.py", "a\\b.py"),
    ("file:///home/u/w/a+b%2B%26.py", "file:///home/u/w", "/home/u/w/a+b+&.py", "a+b+&.py"),
    ("file:///home/u/w//src///a.py", "file:///home/u//w/", "/home/u/w/src/a.py", "src/a.py"),
    ("file:///home/u/w/../x/a.py", "file:///home/u/w", "/home/u/x/a.py", "a.py"),
    ("file:///home/u/w/./src/%2E%2E/a.py", "file:///home/u/w", "/home/u/w/a.py", "a.py"),
    ("file:///home/u/w", "file:///home/u/w", "/home/u/w", "w"),
    ("file:///home/u/w/src/", "file:///home/u/w/", "/home/u/w/src", "src"),
    ("file:///w/a.py", "file:///", "/w/a.py", "w/a.py"),
    ("file:///w/a.py", "file://", "/w/a.py", "a.py"),
    ("vscode-remote://wsl%2Bubuntu/home/u/w/src/a.py", "vscode-remote://wsl%2Bubuntu/home/u/w",
     "/home/u/w/src/a.py", "src/a.py"),
    ("vscode-remote://wsl+ubuntu/home/u/w/a.py", "vscode-remote://wsl%2Bubuntu/home/u/w/", "/home/u/w/a.py", "a.py"),
    ("vscode-remote://ssh-remote%2Bhost/home/u/w/a.py", "vscode-remote://ssh-remote%2Bhost/home/u/w",
     "/home/u/w/a.py", "a.py"),
    ("vscode-notebook-cell://wsl%2Bubuntu/home/u/w/n.ipynb#X1", "vscode-remote://wsl%2Bubuntu/home/u/w",
     "/home/u/w/n.ipynb", "n.ipynb"),
    ("vscode-vfs://github/user/w/src/a.py", "vscode-vfs://github/user/w", "/user/w/src/a.py", "src/a.py"),
    ("git:/home/u/w/a.py.git?%7B%22ref%22%3A%22%22%7D", "file:///home/u/w", "/home/u/w/a.py.git", "a.py.git"),
]  # fmt: skip


@pytest.mark.parametrize(("uri", "root", "path", "name"), EDITORS)
def test_what_editors_send_on_each_platform(uri: str, root: str, path: str, name: str) -> None:
    assert normalize("NFC", convert.path(uri)) == normalize("NFC", path)
    assert convert.document_path(uri, [convert.path(root)]) == name
    assert convert.path(uri) == path or "%E1%84" in uri  # as it was sent, composed or not


def test_ghost_text_is_inserted_at_the_cursor() -> None:
    (item,) = convert.inline_completion_list(suggestion("1 + 2", 6), document("é = 😀 \n"), "utf-16").items
    assert item.insert_text == "1 + 2" and item.filter_text is None
    assert item.range == Range(Position(0, 7), Position(0, 7))


def test_replaced_text_is_a_prefix_of_the_filter_text() -> None:
    (item,) = convert.inline_completion_list(suggestion("x) + 1", 2, 3), document("f()\n"), "utf-16").items
    assert item.range == Range(Position(0, 2), Position(0, 3))
    assert item.filter_text == ")x) + 1"
    (item,) = convert.inline_completion_list(suggestion(")()", 2, 3), document("f()\n"), "utf-16").items
    assert item.filter_text is None and item.insert_text == ")()"


def test_all_candidates_are_rendered_and_a_menu_has_the_first_only() -> None:
    text = document("x = f()\n")
    several = replace(suggestion("1", 6), alternatives=(suggestion("a, b", 6), suggestion("c) + 1", 6, 7)))
    items = convert.inline_completion_list(several, text, "utf-16").items
    assert [item.insert_text for item in items] == ["1", "a, b", "c) + 1"]
    assert [item.range for item in items] == [Range(Position(0, 6), Position(0, end)) for end in (6, 6, 7)]
    assert len(convert.completion_list(several, text, "utf-16").items) == 1
    chosen = SelectedCompletionInfo(Range(Position(0, 4), Position(0, 5)), "g")
    joined = convert.with_selected(several, text, chosen, "utf-16")
    assert joined is not None
    items = convert.inline_completion_list(joined, text, "utf-16").items
    assert [item.insert_text for item in items] == [
        "g1",
        "ga, b",
    ]  # the third replaces more than the menu's item


def test_what_ends_with_the_text_that_it_replaces_is_a_mere_insertion() -> None:
    text = document("f()\n")
    assert convert.as_insertion(suggestion("a) + (b)", 2, 3), text) == replace(
        suggestion("a) + (b)", 2), shown="a) + (b"
    )
    for as_it_is in (suggestion("a):\n    return a", 2, 3), suggestion("a)", 2), suggestion(")", 2, 3)):
        assert convert.as_insertion(as_it_is, text) == as_it_is
    several = replace(suggestion("1", 2), alternatives=(suggestion("a) + (b)", 2, 3),))
    assert convert.as_insertion(several, text).alternatives[0].end == 2


codes = st.text(st.sampled_from("ab()é😀 .\n"), max_size=12)


@given(
    before=codes,
    word=st.text("ab", max_size=3),
    rest=codes,
    picked=st.text("abé(", min_size=1, max_size=6),
    shown=st.text("ab()\n", min_size=1, max_size=6),
    behind=st.integers(0, 3),
    encoding=st.sampled_from(ENCODINGS),
)
def test_what_is_shown_with_a_chosen_item_begins_with_it_and_replaces_just_what_it_does(
    before: str, word: str, rest: str, picked: str, shown: str, behind: int, encoding: str
) -> None:
    text = document(before + word + rest)
    ends = [convert.position(text, len(before + word[:size]), encoding) for size in (0, len(word))]
    chosen = SelectedCompletionInfo(Range(*ends), picked)
    assumed, cursor = convert.accept_selected(text, chosen, encoding)
    behind = min(behind, len(rest.partition("\n")[0]))
    made = suggestion(shown, cursor, cursor + behind)
    promised = assumed.text[:cursor] + shown + assumed.text[cursor + behind :]
    found = convert.with_selected(convert.as_insertion(made, assumed), text, chosen, encoding)
    if found is None:
        assert behind and (not shown.endswith(assumed.text[cursor : cursor + behind]) or len(shown) == behind)
        return
    (item,) = convert.inline_completion_list(found, text, encoding).items
    assert item.range == chosen.range and str(item.insert_text).startswith(picked)
    start, end = convert.span(text, item.range, encoding)
    assert text.text[:start] + str(item.insert_text) + text.text[end:] == promised
    assert (item.filter_text or str(item.insert_text)).startswith(text.text[start:end])


def test_a_menu_entry_is_named_by_the_first_line_that_says_something() -> None:
    there = document("def __init__(self):")
    (item,) = convert.completion_list(
        suggestion("\n    self.a = 1\n    self.b = 2", 19), there, "utf-16"
    ).items
    assert item.label == "self.a = 1 …"
    (item,) = convert.completion_list(suggestion("\n    self.a = 1", 19), there, "utf-16").items
    assert item.label == "self.a = 1" and item.documentation == "\n    self.a = 1"


def test_a_menu_entry_begins_with_the_word_at_the_cursor() -> None:
    answer = convert.completion_list(suggestion("urn x\n    y", 7), document("é\n  ret"), "utf-8")
    (item,) = answer.items
    assert answer.is_incomplete and item.preselect and item.detail == "mercury"
    assert item.label == "return x …" and item.documentation == "return x\n    y"
    assert item.filter_text == "return x\n    y"
    assert item.text_edit is not None and item.text_edit.new_text == "return x\n    y"
    assert item.text_edit.range == Range(Position(1, 2), Position(1, 5))


def test_a_chosen_menu_entry_is_assumed_and_then_part_of_the_answer() -> None:
    text = document("x.app()\n")
    chosen = SelectedCompletionInfo(Range(Position(0, 2), Position(0, 5)), "append")
    assumed, cursor = convert.accept_selected(text, chosen, "utf-16")
    assert assumed.text == "x.append()\n" and assumed.text[:cursor] == "x.append"
    assert convert.with_selected(suggestion("(1)", cursor, cursor + 2), text, chosen, "utf-16") is None
    longer = convert.as_insertion(suggestion("(1) + f()", cursor, cursor + 2), assumed)
    answer = convert.with_selected(longer, text, chosen, "utf-16")
    assert answer is not None
    (item,) = convert.inline_completion_list(answer, text, "utf-16").items
    assert item.insert_text == "append(1) + f" and item.range == chosen.range
    assert item.filter_text is None
