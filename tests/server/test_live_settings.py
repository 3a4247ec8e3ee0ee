"""Settings apply immediately: each option that the client changes takes effect without a restart."""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from test_server import ITEM, URI, Editor, editor  # noqa: F401  # the fixture is used by its name

from mercury_lsp.completion import scheduler
from mercury_lsp.completion.pipeline import complete
from mercury_lsp.completion.scheduler import CompletionScheduler
from mercury_lsp.completion.types import Reply, Snapshot
from mercury_lsp.config import OPTIONS, Config, Option
from mercury_lsp.engine import load as models
from mercury_lsp.engine.api import Sampling
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document

NAMES = {option.name: option for option in OPTIONS}


def other_value(option: Option) -> Any:
    """Return a valid value of an option that is not its default."""
    match option.default:
        case bool():
            return not option.default
        case int() | float():
            return option.high - 1 if option.high - 1 != option.default else option.high
        case tuple():
            return [*option.choices[:1]] or ["c"]
    return next((choice for choice in option.choices if choice != option.default), "another")


def change(editor: Editor, **settings: object) -> None:  # noqa: F811
    editor.send(method="workspace/didChangeConfiguration", params={"settings": {"mercury": settings}})


# Only the user can allow requests to a hosted model: see test_trust.
@pytest.mark.parametrize("name", sorted(NAMES.keys() - {"enabled", "remote"}))
async def test_a_changed_option_applies_to_the_next_request(
    name: str, editor: Editor, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    seen: list[Snapshot] = []

    async def complete(_: CompletionScheduler, snapshot: Snapshot, offset: int, *_more: object) -> Reply:
        seen.append(snapshot)
        return Reply()

    monkeypatch.setattr(CompletionScheduler, "load", lambda *_: False)
    monkeypatch.setattr(CompletionScheduler, "complete", complete)
    await editor.start()
    await editor.complete(1)
    value = other_value(NAMES[name])
    change(editor, **{name: value})
    await editor.complete(2)
    change(editor)
    await editor.complete(3)
    before, changed, after = (snapshot.config for snapshot in seen)
    assert before == after and before != changed
    expected = tuple(value) if isinstance(value, list) else value
    assert changed == replace(before, **{name: expected})
    assert [snapshot.document.text for snapshot in seen] == [ITEM["text"]] * 3
    assert not any(message.get("method") == "window/showMessage" for message in editor.sent)


@pytest.mark.parametrize("name", sorted({field.name for field in fields(Sampling)} & NAMES.keys()))
def test_options_of_sampling_reach_the_engine(name: str) -> None:
    seen: list[Sampling] = []

    class Recorder:
        def stem_start(self, text: str) -> int:
            return len(text)

        def count(self, text: str) -> int:
            return len(text)

        def infill(self, prompt: object, sampling: Sampling, *_: object) -> None:
            seen.append(sampling)
            raise Cancelled

    document = Document(URI, "a.txt", "plaintext", 1, "some words and ")
    for config in (Config(), Config(**{name: other_value(NAMES[name])})):
        with pytest.raises(Cancelled):
            complete(Snapshot(document, config), 15, Recorder())  # type: ignore[arg-type]
    assert getattr(seen[0], name) == NAMES[name].default != getattr(seen[1], name)


async def test_options_of_the_engine_load_another_engine_and_documents_stay(
    editor: Editor, model: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    loaded: list[tuple[object, ...]] = []
    stood_back: list[int] = []
    load = models.load_engine

    def recorded(*arguments: Any) -> LocalEngine:
        loaded.append(arguments[:3])
        return load(*arguments)

    monkeypatch.setattr(models, "load_engine", recorded)
    monkeypatch.setattr(scheduler, "lower_priority", stood_back.append)
    start = {"model": str(model), "device": "cpu", "threads": 1, "anticipate": False}
    await editor.start(**start)
    id_ = 0

    async def items() -> Any:
        nonlocal id_
        id_ += 1
        return (await editor.complete(id_))["result"]["items"]

    assert await items()
    for number, changed in enumerate(({"threads": 2}, {"device": "auto"}, {"nice": 1}), 2):
        change(editor, **changed)
        assert await items()
        assert len(loaded) == len(stood_back) == number
    assert loaded == [
        (str(model), "cpu", 1),
        (str(model), "cpu", 2),
        (str(model), "auto", 1),
        (str(model), "cpu", 1),
    ]
    assert stood_back == [0, 0, 0, 1]
    change(editor, model=str(tiny_model), max_tokens=4)
    await items()
    assert loaded[4] == (str(tiny_model), "cpu", 1)
    change(editor, model=str(tiny_model), max_tokens=5, show_likelihood=0.5, log_level="error")
    await items()
    assert len(loaded) == 5  # none of these options is the engine's


@pytest.mark.parametrize(
    ("off", "on"),
    [
        ({"enabled": False}, {"enabled": True}),
        ({"disabled_languages": ["c", "plaintext"]}, {"disabled_languages": ["c"]}),
    ],
)
async def test_suggestions_can_be_switched_off_and_on(
    editor: Editor, model: Path, off: dict[str, Any], on: dict[str, Any]  # noqa: F811
) -> None:  # fmt: skip
    await editor.start(model=str(model))
    assert (await editor.complete(1))["result"]["items"]
    change(editor, **off)
    assert not (await editor.complete(2))["result"]["items"]
    change(editor, **on)
    assert (await editor.complete(3))["result"]["items"]


async def test_the_log_level_changes_immediately(editor: Editor) -> None:  # noqa: F811
    log = logging.getLogger("mercury_lsp")
    await editor.start(enabled=False)
    assert log.level == logging.WARNING
    for level in ("debug", "error", "warning"):
        change(editor, log_level=level)
        await editor.ask(len(editor.sent) + 100, "mercury/work", None)
        assert log.level == getattr(logging, level.upper())
