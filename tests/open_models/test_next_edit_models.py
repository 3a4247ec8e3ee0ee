"""Open next-edit models are recognized by name, prompted with their own tokens, and limited in their output."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gguf_files import save_gguf

from mercury_lsp.completion import edit_models, rewrites
from mercury_lsp.completion.edit_models import OpenEditModel
from mercury_lsp.completion.rewrites import Rewrites
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.edits.formats import SWEEP, ZETA, Format, format_of
from mercury_lsp.edits.history import Edit
from mercury_lsp.edits.region import Region, region_around
from mercury_lsp.engine.backends.kv_cache import CachedModel
from mercury_lsp.engine.checkpoints.checkpoint import CheckpointError
from mercury_lsp.engine.load import load_tagged_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.prompt_layout import TaggedLayout
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document

LINES = (
    "def area(wide, height):",
    "    a = width",
    "    b = height",
    "    return a * b",
    "",
    "print(area(1, 2))",
)
TEXT = "\n".join(LINES)
WRITTEN = (LINES[0], "    a = wide", *LINES[2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for name in ("sweep-next-edit-1.5B", "zeta-Q8", "coder"):
        save_gguf(folder / f"{name}.gguf", "qwen2", max_position_embeddings=4096)
    return folder


def region(text: str = TEXT) -> Region:
    found = region_around(Document("file:///a.py", "a.py", "python", 2, text), 13, 2_000)
    assert found is not None
    return found


def author(folder: Path, name: str = "sweep-next-edit-1.5B") -> OpenEditModel:
    made = edit_models.make(Config(next_edit=str(folder / f"{name}.gguf"), device="cpu", threads=1))
    assert isinstance(made, OpenEditModel)
    return made


def script_output(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, text: str, end: bool = True
) -> list[int]:
    """Make an engine write a text: each token of the text gets the highest score after the ones before it.

    Returns the number of rows that each pass scored, as a list that grows.
    """
    tokens = engine.tokenizer.encode(text)
    stop = min(engine.layout.stop_tokens)
    prompt: list[int] = []
    scored: list[int] = []
    scores, run, encode = CachedModel.scores, CachedModel.run, engine.layout.encode

    def encoded(asked: Prompt) -> tuple[int, ...]:
        prompt[:] = encode(asked)
        return tuple(prompt)

    monkeypatch.setattr(engine.layout, "encode", encoded)
    rows: list[tuple[int, ...]] = []

    def remembered(passes: CachedModel, ids: Sequence[int], layout: Any, *more: Any) -> Any:
        rows.append(tuple(ids))
        return run(passes, ids, layout, *more)

    def scripted(passes: CachedModel, hidden: Any, *more: Any) -> Any:
        found = scores(passes, hidden, *more).copy()
        known = [*passes.ids, *rows[-1]]
        scored.append(len(found))
        begin = len(prompt)
        for row in range(len(found)):
            written = known[begin : len(known) - len(found) + row + 1]
            at = len(written)
            right = written == tokens[:at]
            wanted = tokens[at] if right and at < len(tokens) else stop if end else tokens[-1]
            found[row] = np.float32(-20.0)
            found[row, wanted] = 0.0
        return found

    monkeypatch.setattr(CachedModel, "run", remembered)
    monkeypatch.setattr(CachedModel, "scores", scripted)
    return scored


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sweep-next-edit-1.5B", SWEEP),
        ("sweep-next-edit-1.5b.q8_0.v2", SWEEP),
        ("Sweep_Next_Edit_0.5B", SWEEP),
        ("sweep-next-edit-v2-7B", None),
        ("zeta", ZETA),
        ("zed-industries.zeta-Q4_K_M", ZETA),
        ("zeta-2", None),
        ("zeta-2.1-i1", None),
        ("Qwen2.5-Coder-1.5B", None),
        ("next-edit", None),
        ("", None),
    ],
)
def test_a_model_is_recognized_by_its_name(name: str, kind: Format | None) -> None:
    assert format_of(name) is kind


def test_special_tokens_of_a_prompt_are_encoded_by_their_ids(folder: Path) -> None:
    loaded = author(folder)
    engine, layout = loaded.engine, loaded.engine.layout
    prompt = SWEEP.prompt("a.py", region(), [])
    assert prompt is not None and isinstance(layout, TaggedLayout)
    ids = layout.encode(Prompt("", prompt, "", ""))
    separator = engine.tokenizer.added["<|file_sep|>"]  # type: ignore[attr-defined]
    parts = prompt.split("<|file_sep|>")
    assert ids.count(separator) == len(parts) - 1 == 3 and separator in layout.stop_tokens
    expected = [token for part in parts[1:] for token in (separator, *engine.tokenizer.encode(part))]
    assert list(ids) == expected


def test_models_that_predict_no_edits_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="coder is none whose prompt for the next edit is known"):
        author(folder, "coder")
    with pytest.raises(CheckpointError, match="small predicts no edits"):
        edit_models.make(Config(next_edit="small", device="cpu"))
    with pytest.raises(CheckpointError, match="has no token <x>"):
        load_tagged_engine(str(folder / "coder.gguf"), lambda name: ("<x>",), "cpu", 1)


@pytest.mark.parametrize(("name", "before", "after"), [
    ("sweep-next-edit-1.5B", "", ""),
    ("zeta-Q8", "```a.py\n<|editable_region_start|>\n", "\n<|editable_region_end|>\n```"),
])  # fmt: skip
def test_the_written_region_is_read_and_drafted_from_the_old_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: str, after: str
) -> None:
    loaded = author(folder, name)
    new = (*LINES[:5], "print(area(3, 4))")
    prompt = loaded.format.prompt("a.py", region(), [])
    assert prompt is not None
    scored = script_output(loaded.engine, monkeypatch, before + "\n".join(new) + after)
    assert loaded.ask(prompt, region(), 200, lambda: False) == list(new)
    tokens = len(loaded.engine.tokenizer.encode("\n".join(new)))
    assert len(scored) < tokens / 2, "most tokens are copied from the region, several in each pass"


def test_writing_stops_once_the_text_agrees_with_the_old_lines_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = author(folder)
    prompt = SWEEP.prompt("a.py", region(), [])
    assert prompt is not None
    script_output(loaded.engine, monkeypatch, "\n".join((*WRITTEN[:4], "nothing of this is read")), end=False)
    assert loaded.ask(prompt, region(), 400, lambda: False) == list(WRITTEN)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("\n".join(WRITTEN[:3]) + "\n", None),
        ("\n".join(WRITTEN[:4]) + "\n", WRITTEN),
        ("\n".join(LINES), None),
        ("\n".join((LINES[0], *LINES[2:4])) + "\n", (LINES[0], *LINES[2:])),
        ("\n".join(("import re", "", *LINES[:2])) + "\n", ("import re", "", *LINES)),
        ("", None),
    ],
)
def test_the_rest_of_the_region_is_kept_after_text_that_agrees_with_it(
    text: str, lines: tuple[str, ...] | None
) -> None:
    assert SWEEP.rejoined(text, region()) == (None if lines is None else list(lines))
    marked = "```\n<|editable_region_start|>\n" + text
    assert ZETA.rejoined(marked, region()) == (None if lines is None else list(lines))
    assert ZETA.rejoined(text, region()) is None


def test_time_tokens_and_the_size_of_the_prompt_are_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = author(folder)
    prompt = SWEEP.prompt("a.py", region(), [])
    assert prompt is not None
    script_output(loaded.engine, monkeypatch, "x = 1", end=False)
    assert loaded.ask(prompt, region(), 24, lambda: False) is None, "an unfinished text is no answer"
    assert loaded.ask(prompt, region(), 100_000, lambda: False) is None
    monkeypatch.setattr(edit_models, "ANSWER_SECONDS", 0.0)
    began = time.monotonic()
    assert loaded.ask(prompt, region(), 3_000, lambda: False) is None
    assert time.monotonic() - began < 5


def test_a_cancelled_request_stops(folder: Path) -> None:
    loaded = author(folder)
    prompt = SWEEP.prompt("a.py", region(), [])
    assert prompt is not None
    with pytest.raises(Cancelled):
        loaded.ask(prompt, region(), 400, lambda: True)


def test_a_rewrite_waits_for_completions_and_becomes_an_edit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewrites, "DEBOUNCE_SECONDS", 0.0)
    config = Config(next_edit=str(folder / "sweep-next-edit-1.5B.gguf"), device="cpu", threads=1)
    busy = [True, True, False, True, False]
    made = edit_models.make(config)
    assert isinstance(made, OpenEditModel)
    script_output(made.engine, monkeypatch, "\n".join(WRITTEN))
    document = Document("file:///a.py", "a.py", "python", 2, TEXT)

    def pop() -> bool:
        return busy.pop(0) if busy else False

    async def find(model: Callable[[], OpenEditModel]) -> None:
        found = Rewrites(model, pop)
        try:
            edits = (Edit(TEXT.index("wide"), "width", "wide"),)
            one = await found.find(Snapshot(document, config, ignored=True), 13, edits, None)
            assert one is not None and not busy
            assert TEXT[: one.start] + one.text + TEXT[one.end :] == "\n".join(WRITTEN)
        finally:
            found.close()

    asyncio.run(find(lambda: made))
