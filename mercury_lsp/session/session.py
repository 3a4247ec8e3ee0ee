"""Keeps the state of one client: its settings, its workspace folders and its open documents.

A session hands out frozen values only, so a snapshot stays the text of its request, whatever is typed later.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import SECTION, Config, parse_settings
from mercury_lsp.models.selection import UserConfigError, choose_model, user_settings
from mercury_lsp.remote.address import host
from mercury_lsp.session.file_access import FileAccess
from mercury_lsp.session.notebooks import Notebooks
from mercury_lsp.session.workspace import Workspace
from mercury_lsp.syntax.document import Document, well_formed
from mercury_lsp.trust import Claim, ConsentStore, settings_needing_consent, without_claim

# People write no larger files, and indexing one at every key would cause a noticeable delay.
MAX_DOCUMENT_CHARACTERS = 2_000_000
# A larger document is kept up to this size, so that changes can make it small again. The text of a longer one is
# dropped until the client sends it as a whole.
MAX_KEPT_CHARACTERS = 4 * MAX_DOCUMENT_CHARACTERS
# The access to a document before the ignore rules have been checked.
UNKNOWN = FileAccess(ignored=True, inside=False)

log = logging.getLogger(__name__)


class Session:
    """The documents, folders and settings of one client. No client can change the settings in `overrides`.

    `claim`: the settings of the client that have no effect because the user has not allowed them.
    """

    def __init__(self, overrides: Mapping[str, object] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._initial_settings: dict[str, object] = {}
        # The settings that the client sent last.
        self._client_settings: object = None
        # Claims that the user has allowed, in case the answer could not be stored.
        self._allowed: set[Claim] = set()
        self.answers = ConsentStore()
        self.claim: Claim | None = None
        self._documents: dict[str, Document] = {}
        # URIs of open documents whose text is not kept because it is far too long.
        self._dropped: set[str] = set()
        # The absolute paths of the open documents' files, by URI; "" if a document has none.
        self._files: dict[str, str] = {}
        # How the open documents may be used, by URI.
        self._access: dict[str, FileAccess] = {}
        self.notebooks = Notebooks()
        self.workspace = Workspace()
        self.roots: tuple[str, ...] = ()
        # In seconds since 1970.
        self.snoozed_until = 0.0
        self.config, self.problems = self._read_settings({})

    def configure(self, settings: object, first: bool = False) -> None:
        """Apply settings, given by the options' names; `problems` then has a sentence for each invalid one.

        The settings come either directly or under the name of our section. An option that they leave out is taken from
        the `first` settings, those of `initialize`, then from the user's own file, then from its default.
        """
        self._client_settings = settings
        if isinstance(settings, Mapping):
            settings = settings.get(SECTION, settings)
        given = settings if isinstance(settings, Mapping) else {}
        given = {name: value for name, value in given.items() if value is not None}
        if first:
            self._initial_settings = given
        self.config, self.problems = self._read_settings({**self._initial_settings, **given})
        if settings is not None and not isinstance(settings, Mapping):
            self.problems += parse_settings(settings)[1]

    def set_folders(self, roots: Sequence[str]) -> None:
        """Set the paths of the workspace folders. Settings that come from the workspace need the user's consent."""
        if self.roots != tuple(roots):
            self.roots = tuple(roots)
            self.configure(self._client_settings)

    def allow(self, claim: Claim) -> None:
        """Apply settings of the client that the user has allowed."""
        self._allowed.add(claim)
        self.configure(self._client_settings)

    @property
    def model(self) -> str:
        """The name of the selected model, by the settings or else by the user's own choice."""
        if self.config.remote == "always":
            return self.config.remote_model or host(self.config.remote_url)
        return PurePath(choose_model(self.config.model).model).name

    def open(self, uri: str, path: str, language_id: str, version: int, text: str, file: str = "") -> None:
        """Add a document or replace its text. `path` is its name for the model.

        `file` is its absolute path, or "". A document with a file counts as ignored until `admit` reports otherwise.
        """
        self._store(uri, well_formed(path), well_formed(language_id), version, text)
        self._files[uri] = file
        self._access[uri] = (
            self._access.get(uri, UNKNOWN) if file else FileAccess(ignored=False, inside=False)
        )
        self.workspace.open(self._as_source(uri), file)

    def file(self, uri: str) -> str:
        """Return the absolute path of an open document's file, or "" if it has none."""
        return self._files.get(uri, "")

    def set_access(self, uri: str, access: FileAccess | None) -> None:
        """Set how an open document with a file may be used; None if that is not known, or not any more."""
        if self.file(uri):
            self._access[uri] = access or replace(self._access[uri], ignored=True)
            if access is not None:
                self.workspace.admit(uri, access.inside and not access.ignored)

    @property
    def uris_with_files(self) -> list[str]:
        """The URIs of the open documents that have a file."""
        return [uri for uri, file in self._files.items() if file]

    def version(self, uri: str) -> int:
        """Return the version of a document, or 0 if it is not open."""
        known = self._documents.get(uri)
        return 0 if known is None else known.version

    def rewrite(self, uri: str, version: int, text: str) -> None:
        """Replace the whole text of an open document. Has no effect if it is not open."""
        if (old := self._documents.get(uri)) is not None:
            self._store(uri, old.path, old.language_id, version, text)
            self.workspace.change(self._as_source(uri))

    def replace(self, uri: str, version: int, start: int, end: int, text: str) -> None:
        """Replace the characters from `start` to `end` of a document. Has no effect if `kept` returns None."""
        if (old := self.stored_document(uri)) is not None:
            new = old.replace(start, end, well_formed(text), version)
            self._keep(new, len(new.text))
            self.workspace.change(self._as_source(uri))

    def close(self, uri: str) -> None:
        """Forget a document."""
        for kept in (self._documents, self._access, self._files):
            kept.pop(uri, None)
        self._dropped.discard(uri)
        self.workspace.forget(uri)

    def focus(self, uri: str) -> None:
        """Note that the user went to a document."""
        self.workspace.use(uri)

    def document(self, uri: str) -> Document | None:
        """Return the current document, or None if it is not open or is too large."""
        known = self.stored_document(uri)
        return None if known is None or len(known.text) > MAX_DOCUMENT_CHARACTERS else known

    def stored_document(self, uri: str) -> Document | None:
        """Return the document that changes apply to, whatever its size; None if it is closed or its text is lost."""
        return None if uri in self._dropped else self._documents.get(uri)

    @property
    def snoozed(self) -> bool:
        """Whether automatic suggestions are paused."""
        return time.time() < self.snoozed_until

    def snapshot(self, uri: str) -> Snapshot | None:
        """Return everything that a completion in a document may depend on, as of now; None if `document` returns None.

        During a snooze, the snapshot's settings turn prefetching off.
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
            library=self.workspace.use(uri),
            ignored=access.ignored,
            private=access.private,
            indentation=access.indentation,
            memory=self.workspace.memory if config.project_files == "all" else None,
        )

    def join_notebook(self, snapshot: Snapshot) -> tuple[Snapshot, int]:
        """Return the snapshot of a cell's whole notebook, and the offset of the cell in it.

        Returns other snapshots as they are, with offset 0.
        """
        document, start = self.notebooks.join(snapshot.document, self.document)
        return (snapshot if document is snapshot.document else replace(snapshot, document=document)), start

    def _read_settings(self, given: Mapping[str, object]) -> tuple[Config, tuple[str, ...]]:
        """Return the configuration from the client's and the user's own settings, and the problems of both."""
        trusted, unreadable = dict(self._overrides), ""
        try:
            trusted = user_settings() | trusted
        except UserConfigError as error:
            unreadable = str(error)
        given = {name: value for name, value in given.items() if name not in self._overrides}
        claim = settings_needing_consent(given, trusted, self.roots)
        if claim is not None and (claim in self._allowed or self.answers.lookup(claim)):
            claim = None
        self.claim = claim
        config, problems = parse_settings({**trusted, **without_claim(given, claim)})
        all_problems = (*problems, unreadable, choose_model(config.model).problem)
        return config, tuple(dict.fromkeys(filter(None, all_problems)))

    def _store(self, uri: str, path: str, language_id: str, version: int, text: str) -> None:
        text_kept = "" if len(text) > MAX_KEPT_CHARACTERS else well_formed(text)
        self._keep(Document(uri, path, language_id, version, text_kept), len(text))

    def _keep(self, document: Document, size: int) -> None:
        uri = document.uri
        warned = uri in self._documents and self.document(uri) is None
        if size > MAX_KEPT_CHARACTERS:
            document = replace(document, text="")
            self._dropped.add(uri)
        else:
            self._dropped.discard(uri)
        self._documents[uri] = document
        if self.document(uri) is None and not warned:
            # The log never names a file.
            log.warning(
                "Nothing is suggested in a document of more than %d characters.", MAX_DOCUMENT_CHARACTERS
            )

    def _as_source(self, uri: str) -> Document:
        """Return an open document as other documents may use it: without its text if that is too large."""
        return self.document(uri) or replace(self._documents[uri], text="")
