"""Prints the server's suggestion at one place of a file, and its cost: `mercury-lsp complete`.

Runs the server's own pipeline in this process.
"""

from __future__ import annotations

import json
import re
import sys
from argparse import Namespace
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mercury_lsp.cli import ghost
from mercury_lsp.completion import engines
from mercury_lsp.completion.pipeline import Job, complete, declined
from mercury_lsp.completion.types import Completion, Snapshot
from mercury_lsp.engine.worker import NoResult
from mercury_lsp.errors import BadUsage, Failure
from mercury_lsp.session.session import Session
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.languages import for_document

if TYPE_CHECKING:
    from mercury_lsp.engine.api import Engine, Progress

_PLACE = re.compile(r"(?P<file>.+):(?P<line>[0-9]{1,18}):(?P<column>[0-9]{1,18})", re.DOTALL)
# Lines of the file to show above the cursor's line.
_CONTEXT = 2


def run(arguments: Namespace) -> int:
    """Complete at one place and print the answer; return the exit status."""
    options = {
        "model": arguments.model,
        "remote": None if arguments.remote is None else "always",
        "remote_url": arguments.remote,
        "remote_model": arguments.remote_model,
    }
    session = Session({name: value for name, value in options.items() if value is not None})
    if session.problems:
        raise BadUsage(session.problems[0])
    snapshot, offset = read(arguments.place, session)
    snapshot = replace(snapshot, invoked=True, mode=arguments.mode)
    if reason := declined(snapshot):
        raise Failure(f"Nothing is suggested in {snapshot.document.path}: {reason}.")
    engine = engines.load(snapshot.config, drafts=arguments.watch)
    output = Console(stderr=arguments.json, highlight=False, soft_wrap=True)
    watching = _Watch(output, snapshot.document, offset) if arguments.watch else None
    with watching.live if watching else nullcontext():
        try:
            completion = complete(snapshot, offset, engine, Job(on_progress=watching))
        except NoResult as error:
            raise Failure(f"There is no answer: {error}.") from error
    # Declined documents have raised a failure above.
    assert completion is not None
    if arguments.json:
        print(json.dumps(_answer(completion, engine)))
    else:
        _show(output, snapshot.document, completion, engine)
    return 0


def read(place: str, session: Session) -> tuple[Snapshot, int]:
    """Open the file of a place in the session; return its snapshot and the place's offset. Raises `BadUsage`."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise BadUsage(f"The place must be FILE:LINE:COLUMN, such as app.py:12:5, not {place!r}.")
    file, line, column = Path(match["file"]), int(match["line"]), int(match["column"])
    try:
        text = file.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise BadUsage(f"Cannot read {file}: {error.strerror}.") from error
    path = file.resolve()
    try:
        name = path.relative_to(Path.cwd()).as_posix()
    except (OSError, ValueError):  # the working folder is gone, or the file is elsewhere
        name = path.name
    language = for_document("", name)
    uri, absolute = path.as_uri(), path.as_posix()
    session.open(uri, name, language.ids[0] if language else "plaintext", 1, text, absolute)
    session.admit(uri, session.workspace.examine(absolute))
    snapshot = session.snapshot(uri)
    if snapshot is None:
        raise BadUsage(f"{file} is too large to complete in.")
    document = snapshot.document
    if not 1 <= line <= document.line_count:
        raise BadUsage(f"{file} has lines 1 to {document.line_count}, and no line {line}.")
    length = len(document.line(line - 1))
    if not 1 <= column <= length + 1:
        raise BadUsage(f"Line {line} of {file} has columns 1 to {length + 1}, and no column {column}.")
    return snapshot, document.offset(line - 1, column - 1)


class _Watch:
    """Shows each draft: redrawn in place on a terminal, one line for each draft otherwise."""

    def __init__(self, output: Console, document: Document, offset: int) -> None:
        self._output = output
        self._document, self._offset = document, offset
        self.live = Live(console=output, auto_refresh=False, transient=True)

    def __call__(self, draft: Progress) -> None:
        state = f"pass {draft.forward_passes:2}  {draft.decided}/{draft.total}"
        if self._output.is_terminal:
            code = _code(self._document, self._offset, self._offset, draft.text, True)
            self.live.update(Text("\n").join([code, Text(state, style="bright_black")]), refresh=True)
        else:
            self._output.print(f"{state}  {draft.text!r}", markup=False)


def _code(document: Document, start: int, end: int, text: str, styled: bool) -> Text:
    """Draw the cursor's line and `_CONTEXT` lines above it, with the suggested text at the cursor."""
    line, _ = document.position(start)
    first = max(0, line - _CONTEXT)
    before = document.text[document.span(first)[0] : start]
    after = document.text[end : document.span(line)[1]]
    return ghost.lines(before, text, after, first + 1, styled)


def _show(output: Console, document: Document, completion: Completion, engine: Engine) -> None:
    shown, infill = completion.shown or "", completion.infill
    output.print(_code(document, completion.start, completion.end, shown, output.is_terminal))
    print(
        f"{'shown' if shown else 'nothing to show'}: {infill.tokens} tokens in {infill.forward_passes} passes, "
        f"{infill.ms:.0f} ms ({infill.ms_prefill:.0f} ms of them to read {infill.prompt_tokens} tokens), "
        f"{engine.name} on {engine.device}",
        file=sys.stderr,
    )


def _answer(completion: Completion, engine: Engine) -> dict[str, object]:
    infill = completion.infill
    return {
        "text": completion.text,
        "shown": completion.shown,
        "steps": infill.steps,
        "tokens": infill.tokens,
        "forward_passes": infill.forward_passes,
        "ms": round(infill.ms, 1),
        "ms_prefill": round(infill.ms_prefill, 1),
        "ms_denoise": round(infill.ms_denoise, 1),
        "cached_tokens": infill.cached_tokens,
        "model": engine.name,
        "device": engine.device,
    }
