"""Keeps what one client told the server: its configuration, its workspace folders and its open documents.

A session hands out frozen values only, so a snapshot is the text that a request was about, whatever is typed later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import SECTION, Config, parse
from mercury_lsp.models.selection import UserConfigError, choose_model, own_settings
from mercury_lsp.remote.address import host
from mercury_lsp.session.file_access import FileAccess
from mercury_lsp.session.notebooks import Notebooks
from mercury_lsp.session.workspace import Workspace
from mercury_lsp.syntax.document import Document, well_formed
from mercury_lsp.trust import Answers, Claim, claim_of, harmless

# People write no larger file, and indexing one at every key would be felt.
MAX_DOCUMENT_CHARACTERS = 2_000_000
# A larger document is kept up to here, so that changes can make it small again; a longer one has to come whole again.
MAX_KEPT_CHARACTERS = 4 * MAX_DOCUMENT_CHARACTERS
# Of a document of which it is not known yet whether rules ignore it.
UNKNOWN = FileAccess(ignored=True, inside=False)

log = logging.getLogger(__name__)


class Session:
    """The documents, folders and settings of one client. `overrides` are settings that no client can change.

    `claim`: what of the client's settings does not count, because the user has not allowed it.
    """

    def __init__(self, overrides: Mapping[str, object] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._first: dict[str, object] = {}
        self._given: object = None  # the settings that came last
        self._allowed: set[Claim] = set()  # by this client's user, should the answer not have been kept
        self.answers = Answers()
        self.claim: Claim | None = None
        self._documents: dict[str, Document] = {}
        self._lost: set[str] = set()  # open documents whose text is not kept, as it is far too large
        self._files: dict[str, str] = {}  # of open documents, where they have one
        self._access: dict[str, FileAccess] = {}  # what may be done with open documents
        self.notebooks = Notebooks()
        self.workspace = Workspace()
        self.roots: tuple[str, ...] = ()
        self.snoozed_until = 0.0  # seconds since 1970
        self.config, self.problems = self._read({})

    def configure(self, settings: object, first: bool = False) -> None:
        """Take settings by the options' names; `problems` then has a sentence for each that is wrong.

        They come bare or under the name of our section. What they leave out is as in the `first` ones, those of
        `initialize`, or as in the user's own file, or has its default.
        """
        self._given = settings
        if isinstance(settings, Mapping):
            settings = settings.get(SECTION, settings)
        given = settings if isinstance(settings, Mapping) else {}
        given = {name: value for name, value in given.items() if value is not None}
        if first:
            self._first = given
        self.config, self.problems = self._read({**self._first, **given})
        if settings is not None and not isinstance(settings, Mapping):
            self.problems += parse(settings)[1]

    def place(self, roots: Sequence[str]) -> None:
        """Take the workspace's folders, by their paths: what comes out of them has to be allowed."""
        if self.roots != tuple(roots):
            self.roots = tuple(roots)
            self.configure(self._given)

    def allow(self, claim: Claim) -> None:
        """The user has allowed settings of the client: take them."""
        self._allowed.add(claim)
        self.configure(self._given)

    @property
    def model(self) -> str:
        """What the model that is to be used is called: by the settings, or else by the user's own choice."""
        if self.config.remote == "always":
            return self.config.remote_model or host(self.config.remote_url)
        return PurePath(choose_model(self.config.model).model).name

    def open(self, uri: str, path: str, language_id: str, version: int, text: str, file: str = "") -> None:
        """Take a document's text, whether it was open before or not. `path` is what the model is told.

        `file` is its absolute path, or empty; as long as it is not known (see `admit`) whether that is ignored, it
        counts as ignored.
        """
        self._take(uri, well_formed(path), well_formed(language_id), version, text)
        self._files[uri] = file
        self._access[uri] = (
            self._access.get(uri, UNKNOWN) if file else FileAccess(ignored=False, inside=False)
        )
        self.workspace.open(self._offered(uri), file)

    def file(self, uri: str) -> str:
        """The absolute path of an open document's file; "" where it has none."""
        return self._files.get(uri, "")

    def admit(self, uri: str, access: FileAccess | None) -> None:
        """Take what may be done with an open document; None where that is not known, or not any more."""
        if self.file(uri):
            self._access[uri] = access or replace(self._access[uri], ignored=True)
            if access is not None:
                self.workspace.admit(uri, access.inside and not access.ignored)

    @property
    def with_files(self) -> list[str]:
        """The URIs of the open documents that have a file."""
        return [uri for uri, file in self._files.items() if file]

    def version(self, uri: str) -> int:
        """The version of an open document; 0 where it is not open."""
        known = self._documents.get(uri)
        return 0 if known is None else known.version

    def rewrite(self, uri: str, version: int, text: str) -> None:
        """Take a whole new text of an open document. Of one that is not open, nothing."""
        if (old := self._documents.get(uri)) is not None:
            self._take(uri, old.path, old.language_id, version, text)
            self.workspace.change(self._offered(uri))

    def replace(self, uri: str, version: int, start: int, end: int, text: str) -> None:
        """Replace the characters from `start` to `end` of a document. Of one that `kept` lacks, nothing."""
        if (old := self.kept(uri)) is not None:
            new = old.replace(start, end, well_formed(text), version)
            self._keep(new, len(new.text))
            self.workspace.change(self._offered(uri))

    def close(self, uri: str) -> None:
        """Forget a document."""
        for kept in (self._documents, self._access, self._files):
            kept.pop(uri, None)
        self._lost.discard(uri)
        self.workspace.forget(uri)

    def focus(self, uri: str) -> None:
        """Note that the user went to a document."""
        self.workspace.used(uri)

    def document(self, uri: str) -> Document | None:
        """The document as it is now; None where it is not open, or too large."""
        known = self.kept(uri)
        return None if known is None or len(known.text) > MAX_DOCUMENT_CHARACTERS else known

    def kept(self, uri: str) -> Document | None:
        """The document to which changes apply, be it too large; None where it is not open, or its text is not kept."""
        return None if uri in self._lost else self._documents.get(uri)

    @property
    def snoozed(self) -> bool:
        """Whether nothing is to be suggested automatically for now."""
        return time.time() < self.snoozed_until

    def snapshot(self, uri: str) -> Snapshot | None:
        """What a completion in this document may depend on, as it is now; None where there is no `document`.

        While it is `snoozed`, nothing is worked on ahead.
        """
        document = self.document(uri)
        if document is None:
            return None
        config = replace(self.config, anticipate=False) if self.snoozed else self.config
        access = self._access[uri]
        return Snapshot(
            document,
            config,
            self.roots,
            library=self.workspace.used(uri),
            ignored=access.ignored,
            private=access.private,
            indentation=access.indentation,
            memory=self.workspace.memory if config.project_files == "all" else None,
        )

    def joined(self, snapshot: Snapshot) -> tuple[Snapshot, int]:
        """The snapshot of a cell's whole notebook, and where the cell begins in it; of others the same, and 0."""
        document, start = self.notebooks.joined(snapshot.document, self.document)
        return (snapshot if document is snapshot.document else replace(snapshot, document=document)), start

    def _read(self, given: Mapping[str, object]) -> tuple[Config, tuple[str, ...]]:
        """The configuration by a client's settings and the user's own, and what is wrong with either."""
        own, unreadable = dict(self._overrides), ""
        try:
            own = own_settings() | own
        except UserConfigError as error:
            unreadable = str(error)
        given = {name: value for name, value in given.items() if name not in self._overrides}
        claim = claim_of(given, own, self.roots)
        if claim is not None and (claim in self._allowed or self.answers.allowed(claim)):
            claim = None
        self.claim = claim
        config, problems = parse({**own, **harmless(given, claim)})
        every = (*problems, unreadable, choose_model(config.model).problem)
        return config, tuple(dict.fromkeys(filter(None, every)))

    def _take(self, uri: str, path: str, language_id: str, version: int, text: str) -> None:
        text_kept = "" if len(text) > MAX_KEPT_CHARACTERS else well_formed(text)
        self._keep(Document(uri, path, language_id, version, text_kept), len(text))

    def _keep(self, document: Document, size: int) -> None:
        uri = document.uri
        told = uri in self._documents and self.document(uri) is None
        if size > MAX_KEPT_CHARACTERS:
            document = replace(document, text="")
            self._lost.add(uri)
        else:
            self._lost.discard(uri)
        self._documents[uri] = document
        if self.document(uri) is None and not told:
            # Without its name: no file is named in the log.
            log.warning(
                "Nothing is suggested in a document of more than %d characters.", MAX_DOCUMENT_CHARACTERS
            )

    def _offered(self, uri: str) -> Document:
        """An open document as others may use it: without its text if that is too large."""
        return self.document(uri) or replace(self._documents[uri], text="")
