"""Prints the server's suggestion at a position in a file, with its cost: `mercury-lsp complete`.

Runs the server's own pipeline in this process.
"""

from __future__ import annotations

import json
import logging
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
from mercury_lsp.completion.pipeline import Job, complete, decline_reason
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
_CONTEXT_LINES = 2


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
    snapshot, offset = open_place(arguments.place, session)
    snapshot = replace(snapshot, manual=True, mode=arguments.mode)
    if reason := decline_reason(snapshot):
        raise Failure(f"There are no suggestions in {snapshot.document.path}: {reason}.")
    # The error message below says the same as the log.
    logging.getLogger("mercury_lsp.remote").addHandler(logging.NullHandler())
    engine = engines.load(snapshot.config, drafts=arguments.watch)
    output = Console(stderr=arguments.json, highlight=False, soft_wrap=True)
    draft_display = _DraftDisplay(output, snapshot.document, offset) if arguments.watch else None
    with draft_display.live if draft_display else nullcontext():
        try:
            completion = complete(snapshot, offset, engine, Job(on_progress=draft_display))
        except NoResult as error:
            raise Failure(f"The hosted model did not answer: {error}.") from error
    # Declined documents have raised a failure above.
    assert completion is not None
    if arguments.json:
        print(json.dumps(_to_json(completion, engine)))
    else:
        _print_answer(output, snapshot.document, completion, engine)
    return 0


def open_place(place: str, session: Session) -> tuple[Snapshot, int]:
    """Open the file of a place in the session; return its snapshot and the place's offset. Raises `BadUsage`."""
    match = _PLACE.fullmatch(place)
    if match is None:
        raise BadUsage(f"The position must be FILE:LINE:COLUMN, such as app.py:12:5, not {place!r}.")
    file, line, column = Path(match["file"]), int(match["line"]), int(match["column"])
    try:
        text = file.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise BadUsage(f"Cannot read {file}: {error.strerror}.") from error
    path = file.resolve()
    try:
        name = path.relative_to(Path.cwd()).as_posix()
    except (OSError, ValueError):  # the working folder was deleted, or the file is outside
        name = path.name
    language = for_document("", name)
    uri, absolute = path.as_uri(), path.as_posix()
    session.open(uri, name, language.ids[0] if language else "plaintext", 1, text, absolute)
    session.set_access(uri, session.workspace.check_access(absolute))
    snapshot = session.snapshot(uri)
    if snapshot is None:
        raise BadUsage(f"{file} is too large: the server completes documents of up to 2 million characters.")
    document = snapshot.document
    if not 1 <= line <= document.line_count:
        raise BadUsage(f"{file} has no line {line}, only lines 1 to {document.line_count}.")
    length = len(document.line(line - 1))
    if not 1 <= column <= length + 1:
        raise BadUsage(f"Line {line} of {file} has no column {column}, only columns 1 to {length + 1}.")
    return snapshot, document.offset(line - 1, column - 1)


class _DraftDisplay:
    """Shows each draft: redrawn in place on a terminal, one line for each draft otherwise."""

    def __init__(self, output: Console, document: Document, offset: int) -> None:
        self._output = output
        self._document, self._offset = document, offset
        self.live = Live(console=output, auto_refresh=False, transient=True)

    def __call__(self, draft: Progress) -> None:
        state = f"pass {draft.forward_passes:2}  {draft.decided}/{draft.total}"
        if self._output.is_terminal:
            code = _render_code(self._document, self._offset, self._offset, draft.text, True)
            self.live.update(Text("\n").join([code, Text(state, style="bright_black")]), refresh=True)
        else:
            self._output.print(f"{state}  {draft.text!r}", markup=False)


def _render_code(document: Document, start: int, end: int, text: str, styled: bool) -> Text:
    """Draw the cursor's line and `_CONTEXT_LINES` lines above it, with the suggested text at the cursor."""
    line, _ = document.position(start)
    first = max(0, line - _CONTEXT_LINES)
    before = document.text[document.span(first)[0] : start]
    after = document.text[end : document.span(line)[1]]
    return ghost.render_lines(before, text, after, first + 1, styled)


def _print_answer(output: Console, document: Document, completion: Completion, engine: Engine) -> None:
    shown, infill = completion.shown or "", completion.infill
    output.print(_render_code(document, completion.start, completion.end, shown, output.is_terminal))
    print(
        f"{'shown' if shown else 'nothing to show'}: {infill.tokens} tokens in {infill.forward_passes} passes, "
        f"{infill.ms:.0f} ms ({infill.ms_prefill:.0f} ms for reading {infill.prompt_tokens} tokens), "
        f"{engine.name} on {engine.device}",
        file=sys.stderr,
    )


def _to_json(completion: Completion, engine: Engine) -> dict[str, object]:
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
