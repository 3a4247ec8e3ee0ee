"""A workspace full of planted secrets: none reaches the library, a prompt of another document, or what is shown."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import planted_secrets as planted

from mercury_lsp.completion.fitting import postprocess
from mercury_lsp.completion.pipeline import build_prompt, decline_reason
from mercury_lsp.config import Config
from mercury_lsp.context.retrieval.index import Library
from mercury_lsp.lsp import convert
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

ENGINE: Any = SimpleNamespace(count=lambda text: len(text) // 3 + 1, stem_start=len)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> planted.Planted:
    return planted.workspace(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def session(there: planted.Planted) -> Iterator[Session]:
    """A session in which everything is open, and has been edited, that there is in the workspace and around."""
    session = Session({})
    session.roots = (str(there.root),)
    session.workspace.watched = True
    session.workspace.configure(session.roots, 2**25)
    session.workspace.start()
    links = [there.root / name for name in ("linked.py", "lib/key.py", "lib/linked/outside.py")]
    for file in (*there.forbidden, *links, there.root.parent / "above.py", *there.usable):
        uri = file.as_uri()
        text = file.read_text(encoding="utf-8")
        session.open(uri, convert.document_path(uri, session.roots), "", 1, text, convert.absolute_path(uri))
        session.set_access(uri, session.workspace.check_access(convert.absolute_path(uri)))
        session.replace(uri, 2, 0, 0, "\n")
        session.snapshot(uri)
    for file in (there.usable[-1], there.usable[0]):  # what is used last is read when something else is
        session.snapshot(file.as_uri())
        end = time.monotonic() + 60
        while not session.workspace.idle:
            assert time.monotonic() < end
            time.sleep(0.01)
    yield session
    session.workspace.close(60)


def told(library: Library) -> str:
    """All text that a library holds."""
    texts = list(library.opened)
    for entry in library.entries.values():
        texts += [entry.path, entry.text]
        texts += [chunk.text for chunk in entry.chunks]
    return "\n".join(texts)


def test_there_are_enough(there: planted.Planted) -> None:
    assert (
        len(there.secrets) >= 140
        and len(there.forbidden) >= 50
        and len(set(there.secrets)) == len(there.secrets)
    )


def test_no_secret_reaches_the_library(there: planted.Planted, session: Session) -> None:
    library = session.workspace.library
    names = {str(path.relative_to(there.root)) for path in there.usable}
    assert set(library.entries) == names and set(library.opened) == names
    everything = told(library)
    assert "def area_1(" in everything and "def use_" in everything  # what is innocent has come
    assert not [secret for secret in there.secrets if secret in everything]


def test_no_secret_of_another_document_reaches_a_prompt(there: planted.Planted, session: Session) -> None:
    related = 0
    for file in there.usable:
        snapshot = session.snapshot(file.as_uri())
        assert snapshot is not None and decline_reason(snapshot) is None
        own = snapshot.document.text
        offsets = [0, len(own) // 2, len(own), own.index("total * width")]
        for number in range(2, 30):
            offsets.append(max(0, own.find(f"use_{number}")))
        for offset in offsets:
            prompt = build_prompt(snapshot, offset, ENGINE)
            related += len(prompt.related)
            everything = repr(prompt)
            found = [secret for secret in there.secrets if secret in everything and secret not in own]
            assert not found
            snippets = repr(prompt.related)
            assert not [secret for secret in there.secrets if secret in snippets]
    assert related > 0


def test_nothing_is_suggested_in_private_documents_and_nothing_of_ignored_ones_is_sent(
    there: planted.Planted, session: Session
) -> None:
    hosted = Config(remote="always", remote_url="https://api.example.com/v1")
    for file in (*there.private, there.root / "lib/key.py"):
        snapshot = session.snapshot(file.as_uri())
        assert snapshot is not None and "secrets" in (decline_reason(snapshot) or ""), file
    for file in there.ignored:
        snapshot = session.snapshot(file.as_uri())
        assert snapshot is not None and snapshot.ignored and decline_reason(snapshot) is None, file
        assert "hosted" in (decline_reason(replace(snapshot, config=hosted)) or "")
        off = replace(snapshot, config=Config(complete_ignored=False))
        assert "complete_ignored" in (decline_reason(off) or "")
    for file in (
        there.root / "linked.py",
        there.root.parent / "above.py",
    ):  # from outside: completed, never used
        snapshot = session.snapshot(file.as_uri())
        assert snapshot is not None and decline_reason(snapshot) is None


def test_until_it_is_known_whether_a_document_is_ignored_it_counts_as_ignored(there: planted.Planted) -> None:
    session, uri = Session({"complete_ignored": False}), there.usable[0].as_uri()
    session.open(uri, "main.py", "python", 1, "x = ", convert.absolute_path(uri))
    snapshot = session.snapshot(uri)
    assert snapshot is not None and decline_reason(snapshot)
    session.set_access(uri, session.workspace.check_access(convert.absolute_path(uri)))
    snapshot = session.snapshot(uri)
    assert snapshot is not None and decline_reason(snapshot) is None
    session.set_access(uri, None)
    snapshot = session.snapshot(uri)
    assert snapshot is not None and decline_reason(snapshot)


LITERALS = [
    *[f'connect("{token}")' for token in planted.tokens(9)],
    *[line for line, _ in planted.statements(9)],
]


@pytest.mark.parametrize(
    "text", [*LITERALS, *[planted.private_key(kind) for kind in ("", "EC ", "OPENSSH ")]]
)
def test_no_secret_is_shown(text: str) -> None:
    for language, before in (("python", "x = 1\n"), ("plaintext", "settings:\n"), ("javascript", "f();\n")):
        document = Document("file:///a", "a", language, 1, before)
        found = postprocess.fit(text, document, len(before), Syntax.of(document), single_line=False)
        if found is not None:  # what stands before the secret
            assert not postprocess.secrets.is_secret(before + found.text)
            assert planted.LETTERS[:1] and not any(part in found.text for part in _long(text))


def _long(text: str) -> list[str]:
    """The parts of a line that only a secret has: runs of letters and digits that are no words."""
    runs = "".join(c if c.isalnum() else " " for c in text).split()
    return [run for run in runs if len(run) >= 16 and any(c.isdigit() for c in run)]


WINDOWS = [
    ("file:///c%3A/Users/a/project/.env", True),
    ("file:///C:/Users/a/.ssh/config", True),
    ("file:///c:/Users/a/AppData/Roaming/gcloud/credentials.db", True),
    ("file:///c:/Users/a/AppData/Roaming/Microsoft/UserSecrets/1/secrets.json", True),
    ("file://server/share/project/id_rsa", True),
    ("file:///Users/a/Library/Keychains/login.keychain-db", True),
    ("file:///Users/a/Library/Application%20Support/Google/Chrome/Login%20Data", True),
    ("git:/Users/a/project/.env.local?ref", True),
    ("vscode-remote://ssh/home/a/.aws/credentials", True),
    ("file:///c%3A/Users/a/project/main.py", False),
    ("file://server/share/project/secrets.py", False),
    ("file:///Users/a/Library/Developer/app/Main.swift", False),
]


@pytest.mark.parametrize(("uri", "private"), WINDOWS)
def test_uris_of_every_platform(uri: str, private: bool) -> None:
    session = Session()
    session.open(uri, convert.document_path(uri, ()), "", 1, "x = ", convert.absolute_path(uri))
    assert convert.absolute_path(uri)
    access = session.workspace.check_access(convert.absolute_path(uri))
    session.set_access(uri, replace(access, ignored=False, private=False))  # the name alone is enough
    snapshot = session.snapshot(uri)
    assert snapshot is not None and (decline_reason(snapshot) is not None) == private
    assert access.ignored == private


def test_only_this_machines_files_are_opened(tmp_path: Path) -> None:
    assert convert.is_local("file:///a/b.py") and convert.is_local("FILE:///c:/x")
    for uri in (
        "git:/a/b.py",
        "untitled:Untitled-1",
        "vscode-vfs://github/a/b",
        "file:",
        "",
        "vscode-remote://h/a",
    ):
        assert not convert.is_local(uri)
    assert convert.absolute_path("untitled:Untitled-1") == ""
