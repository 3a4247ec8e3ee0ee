"""The completion pipeline with a real engine: from a snapshot and an offset to the shown text."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from os.path import commonprefix
from pathlib import Path

import pytest

from mercury_lsp.completion.committed import CommittedText, likelihood
from mercury_lsp.completion.pipeline import (
    Job,
    PipelineCache,
    build_prompt,
    complete,
    decline_reason,
    prefill_document,
)
from mercury_lsp.completion.types import Snapshot
from mercury_lsp.config import Config
from mercury_lsp.context.retrieval.index import Library, read
from mercury_lsp.context.retrieval.ranking import Related
from mercury_lsp.engine.api import Infill, Line, Progress, ScoredToken
from mercury_lsp.engine.backends.torch_executor import TorchExecutor
from mercury_lsp.engine.decoding.speculative import draft_defaults
from mercury_lsp.engine.load import load_local_engine
from mercury_lsp.engine.local_engine import LocalEngine
from mercury_lsp.engine.tokenizer import Prompt
from mercury_lsp.engine.worker import Cancelled
from mercury_lsp.syntax.document import Document
from mercury_lsp.syntax.tree import Syntax

TEXT = "def total(value):\r\n    return \r\n\r\nprint(total(3))\r\n"
OFFSET = TEXT.index("return ") + len("return ")


@pytest.fixture(scope="module")
def engine(unpacked_model: Path) -> LocalEngine:
    return load_local_engine(str(unpacked_model), "cpu")


def snapshot(
    path: str = "a.py", uri: str = "file:///w/a.py", text: str = TEXT, **options: object
) -> Snapshot:
    config = Config(**{"max_tokens": 8, **options})  # type: ignore[arg-type]
    return Snapshot(Document(uri, path, "python", 1, text), config, ("/w",))


def test_a_completion_starts_at_the_cursor_and_ends_within_its_line(engine: LocalEngine) -> None:
    found = complete(snapshot(), OFFSET, engine)
    assert found is not None
    assert found.text == found.infill.text and found.infill.tokens > 0
    assert found.start == OFFSET <= found.end <= TEXT.index("\r\n", OFFSET)


@pytest.mark.parametrize("mode", ["diffusion", "autoregressive"])
def test_settings_and_mode_reach_the_engine(engine: LocalEngine, mode: str) -> None:
    drafts: list[Progress] = []
    found = complete(
        replace(snapshot(max_tokens=5), mode=mode), OFFSET, engine, Job(on_progress=drafts.append)
    )
    assert found is not None and found.infill.tokens <= 5 and drafts
    long = f"{'x = 1  # one of many lines' * 3}\r\n" * 60 + TEXT
    tokens = []
    for options in ({}, {"context_tokens": 88}, {"context_tokens": 22}):
        there = complete(snapshot(text=long, **options), long.index("return ") + 7, engine)  # type: ignore[arg-type]
        assert there is not None
        tokens.append(there.infill.prompt_tokens)
    assert tokens[0] > tokens[1] > tokens[2]


def test_multiline_never_gives_single_lines(engine: LocalEngine) -> None:
    for offset in range(0, len(TEXT), 3):
        found = complete(snapshot(multiline="never", max_tokens=32), offset, engine)
        assert found is not None and "\n" not in found.text.lstrip("\n")
        assert found.shown is None or "\n" not in found.shown


def test_every_offset_gets_a_completion(engine: LocalEngine) -> None:
    for offset in range(len(TEXT) + 1):
        assert complete(snapshot(max_tokens=4), offset, engine) is not None


def test_an_unlikely_text_is_shown_only_for_manual_requests(engine: LocalEngine) -> None:
    config = Config(max_tokens=8, multiline="always", show_likelihood=0)
    words = Snapshot(Document("file:///w/a.txt", "a.txt", "plaintext", 1, "some words and "), config)
    free = complete(words, 15, engine)
    assert free is not None and free.shown and free.reason is None
    sure = likelihood(free.infill.confidence, free.infill.tokens)
    assert 0 < sure < 0.9
    for threshold in (1e-9, 0.999):
        limited = replace(words, config=replace(config, show_likelihood=threshold))
        found = complete(limited, 15, engine)
        assert found is not None
        if threshold < 0.5:
            assert found.shown and free.shown.startswith(found.shown) and found.reason is None
        else:
            assert found.shown is None and "not sure enough" in (found.reason or "")
        asked = complete(replace(limited, manual=True), 15, engine)
        assert asked is not None and asked.shown == free.shown


def test_typing_computes_only_changed_tokens_the_rest_of_the_line_and_a_canvas(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is larger than the windows, which move only by strides."""
    rows: list[int] = []
    run = engine.cached_model.run
    monkeypatch.setattr(
        engine.cached_model, "run", lambda ids, where: rows.append(len(ids)) or run(ids, where)
    )
    lines = "".join(f"    value_{i} = compute({i}, other)  # line {i}\n" for i in range(150))
    before, rest, after = f"def f(other):\n{lines}    total = ", " + 1)", f"\n{lines}"
    tokens, canvas, moved = engine.tokenizer.encode, draft_defaults(TorchExecutor.row_cost).block + 1, 0
    complete(snapshot(text=before + rest + after), len(before), engine)
    old = build_prompt(snapshot(text=before + rest + after), len(before), engine)
    for key in "(compute(value_12, other) - value_13 * (other[4] + value_14":
        before += key
        there = snapshot(text=before + rest + after)
        new = build_prompt(there, len(before), engine)
        rows.clear()
        complete(there, len(before), engine)
        assert new.following == old.following
        seen, seen_before = new.prefix + new.stem, old.prefix + old.stem
        if seen[:-1] != seen_before:
            moved += 1
            assert len(seen) < len(seen_before) - 50  # by a stride
        # Within a word, the cached scores of the prompt's last row select other tokens.
        elif new.prefix == old.prefix:
            assert not rows or rows[0] <= canvas + 1
        else:
            header = f"{new.path}\n"
            known = commonprefix([tokens(header + old.prefix), tokens(header + new.prefix)])
            changed = len(tokens(header + new.prefix)) - len(known)
            assert 0 < changed <= 3
            assert (
                rows[0] == changed + len(["<fim_rest>"]) + len(tokens(rest)) + len(["<fim_middle>"]) + canvas
            )
            assert len(rows) <= 1 + there.config.max_tokens
            # A draft, and a canvas after each of its tokens.
            assert max(rows[1:], default=0) <= canvas * canvas - 1
        old = new
    assert moved <= 1


def test_a_prefetched_prompt_is_not_read_again(engine: LocalEngine) -> None:
    there = snapshot(path="prepared.py", text=TEXT * 9)
    with pytest.raises(Cancelled):
        prefill_document(there, 0, engine, lambda: True, None)
    prefill_document(there, 0, engine, lambda: False, None)
    found = complete(there, 0, engine)
    assert found is not None and found.infill.cached_tokens >= found.infill.prompt_tokens - 1


def test_committed_text_is_shown_under_the_same_rules_as_a_whole_text(engine: LocalEngine) -> None:
    told: list[CommittedText] = []
    config = Config(max_tokens=8, multiline="always", show_likelihood=0)
    words = Snapshot(Document("file:///w/a.txt", "a.txt", "plaintext", 1, "some words and "), config)
    found = complete(words, 15, engine, Job(on_commit=told.append))
    assert found is not None
    parts = [committed.judge() for committed in told]
    assert len(parts) > 1
    assert all(found.text.startswith(part.text) and part.end == 15 for part in parts)
    assert any(part.shown for part in parts)
    unsure = replace(words, config=replace(config, show_likelihood=1))
    assert not any(replace(committed, snapshot=unsure).judge().shown for committed in told)


LINES = Infill(
    "one()\n    two()\n    three()",
    9,
    1,
    1,
    1.0,
    0.0,
    1.0,
    0,
    1,
    0.5,
    True,
    (Line(5, 3, -0.5), Line(15, 6, -1.5)),
    (ScoredToken(5, -0.1), ScoredToken(15, -0.9), ScoredToken(27, -3.0)),
)


@pytest.mark.parametrize(
    ("least", "shown"),
    [
        (0.0, "one()\r\n    two()\r\n    three()"),  # 0.5 ** 9
        # 0.37 * 14 characters, and 0.54 * 3 if the second line is wrong.
        (0.2, "one()\r\n    two()"),
        (0.9, "one()\r\n    two()"),
        # With these costs, a wrong first word, of probability 0.095, costs as much as 114 characters.
        (0.95, None),
    ],
)
def test_the_number_of_shown_lines_has_the_highest_expected_gain(least: float, shown: str | None) -> None:
    text = "def f():\r\n    \r\n\r\nx = 1\r\n"
    there = snapshot(text=text, show_likelihood=least)
    offset = len("def f():\r\n    ")
    committed = CommittedText(there, offset, Syntax.of(there.document), False, LINES)
    found = committed.judge()
    assert found.shown == shown and found.text == LINES.text
    assert (found.reason is None) == (shown is not None)
    if shown is not None:
        assert found.infill.text == shown.replace("\r\n", "\n")
    asked = replace(committed, snapshot=replace(there, manual=True)).judge()
    assert asked.shown == "one()\r\n    two()\r\n    three()"


def test_the_likelihood_of_a_cut_text_is_that_of_the_remaining_lines() -> None:
    text = "def f():\n    \n    three()\n"
    there = snapshot(text=text, show_likelihood=0.2)
    found = CommittedText(there, 13, Syntax.of(there.document), False, LINES).judge()
    assert found.shown == "one()\n    two()"
    assert found.infill == LINES.first_lines(2)


def test_an_unlikely_end_of_a_line_is_cut_off() -> None:
    there = snapshot(text="def f():\n    \n", show_likelihood=0.2)
    text = "return compute(a, b)"
    sure = replace(
        LINES,
        text=text,
        lines=(),
        scored=(ScoredToken(14, -0.05), ScoredToken(16, -2.0), ScoredToken(20, -2.0)),
    )
    found = CommittedText(there, 13, Syntax.of(there.document), True, sure).judge()
    assert found.shown == "return compute" and found.text == text
    assert found.infill.scored == sure.scored[:1] and found.infill.tokens == 1


@pytest.mark.parametrize(
    ("marked", "text", "sure", "shown"),
    [
        # No comma before the end.
        ("f(¦)\n", "alpha_beta, b", 11, "alpha_beta"),
        # No statement before another one in the same line.
        ("def f(a):\n    ¦return a\n", "call_it(a) or b", 10, None),
    ],
)
def test_a_cut_text_fits_the_rest_of_the_line(marked: str, text: str, sure: int, shown: str | None) -> None:
    there = snapshot(text=marked.replace("¦", ""), show_likelihood=0.2)
    scored = (ScoredToken(sure, -0.02), ScoredToken(len(text), -4.0))
    infill = replace(LINES, text=text, lines=(), scored=scored)
    offset = marked.index("¦")
    assert CommittedText(there, offset, Syntax.of(there.document), True, infill).judge().shown == shown


def test_the_whole_text_is_shown_if_the_model_gives_no_probabilities() -> None:
    there = snapshot(text="def f():\n    \n", show_likelihood=0.9)
    silent = replace(LINES, text="return 1", lines=(), scored=(), confidence=1.0)
    assert CommittedText(there, 13, Syntax.of(there.document), True, silent).judge().shown == "return 1"


class RecordingEngine:
    """An engine that records the calls of `prefill`."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self.read: list[int] = []

    def stem_start(self, text: str) -> int:
        return self._engine.stem_start(text)

    def count(self, text: str) -> int:
        return self._engine.count(text)

    def prefill(self, prompt: Prompt, cancelled: Callable[[], bool], min_tokens: int) -> int:
        self.read.append(min_tokens)
        return 0


def test_trigger_rules_prevent_a_pass_unless_the_request_is_manual(engine: LocalEngine) -> None:
    there, offset = snapshot(), TEXT.index("print") + 2
    asked = RecordingEngine(engine)
    found = complete(there, offset, asked)  # type: ignore[arg-type]
    assert found is not None and found.shown is None
    assert found.reason == "the cursor is in the middle of a word"
    assert found.infill.forward_passes == 0 and asked.read == [64]
    assert decline_reason(there) is None
    invoked = complete(replace(there, manual=True), offset, engine)
    assert invoked is not None and invoked.infill.forward_passes > 0
    comment = snapshot(text="x = 1  # a\n", in_strings_and_comments=False)
    found = complete(comment, 10, asked)  # type: ignore[arg-type]
    assert found is not None and "in_strings_and_comments" in (found.reason or "")
    text = snapshot(text="x = 'a'\n", in_strings_and_comments=True)
    found = complete(text, 6, engine)
    assert found is not None and found.infill.forward_passes > 0


def words(**options: object) -> Snapshot:
    config = Config(**{"max_tokens": 8, "multiline": "always", **options})  # type: ignore[arg-type]
    return Snapshot(Document("file:///w/a.txt", "a.txt", "plaintext", 1, "some words and "), config, (), True)


def test_alternatives_are_distinct_and_sorted_by_likelihood(engine: LocalEngine) -> None:
    alone = complete(words(), 15, engine)
    assert alone is not None and alone.alternatives == ()
    for most in (1, 2, 4):
        found = complete(words(), 15, engine, Job(max_alternatives=most, search_seconds=math.inf))
        assert found is not None and found.shown == alone.shown
        assert len(found.alternatives) == most
        texts = ["".join((one.shown or "").split()) for one in (found, *found.alternatives)]
        assert len(set(texts)) == most + 1 and all(texts)
        sure = [likelihood(one.infill.confidence, one.infill.tokens) for one in found.alternatives]
        assert sure == sorted(sure, reverse=True)
        assert all(one.start == one.end == 15 and one.alternatives == () for one in found.alternatives)


def test_alternatives_that_are_late_are_left_out(engine: LocalEngine) -> None:
    told: list[CommittedText] = []
    found = complete(words(), 15, engine, Job(on_commit=told.append, max_alternatives=4, search_seconds=0.0))
    assert found is not None and found.shown and found.alternatives == ()
    # The text that a deadline would show in the meantime.
    assert told[-1].infill.text == found.text


def test_a_job_that_is_cancelled_during_its_alternatives_stops(engine: LocalEngine) -> None:
    cancelled = False

    def tell(committed: CommittedText) -> None:
        nonlocal cancelled
        cancelled = committed.infill.finished or committed.infill.tokens >= 8

    with pytest.raises(Cancelled):
        complete(words(), 15, engine, Job(lambda: cancelled, on_commit=tell, max_alternatives=4))


def test_likelihood_is_the_probability_of_the_whole_text() -> None:
    assert likelihood(0.5, 3) == 0.125
    assert likelihood(1.0, 60) == 1.0


def test_a_cancelled_completion_stops(engine: LocalEngine) -> None:
    with pytest.raises(Cancelled):
        complete(snapshot(), OFFSET, engine, Job(lambda: True))


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (snapshot(enabled=False), "switched off"),
        (snapshot(disabled_languages=("python",)), "python"),
        (snapshot(path=".env"), "secrets"),
        (snapshot(path="config", uri="file:///home/u/%2Essh/config"), "secrets"),
        (snapshot(text="a\0b"), "binary"),
    ],
)
def test_disabled_private_and_binary_documents_are_declined(
    engine: LocalEngine, where: Snapshot, reason: str
) -> None:
    assert reason in (decline_reason(where) or "")
    assert complete(where, 0, engine) is None


def test_other_documents_are_not_declined() -> None:
    assert decline_reason(snapshot(disabled_languages=("go",))) is None


STORE = "class Store:\n    def lowest(self) -> str:\n        return min(self.stock)\n"
LIBRARY = Library({"store.py": read("store.py", STORE)}, opened=("store.py",))
CALLS = "from store import Store\n\n\ndef main(store: Store):\n    stock = store.lowest()\n    \n\nmain(Store())\n"


def snapshot_with_library(text: str, **options: object) -> Snapshot:
    return replace(snapshot(text=text, **options), library=LIBRARY)


def test_related_text_is_in_the_prompt_unless_project_files_is_none(engine: LocalEngine) -> None:
    offset = CALLS.index("    \n") + 4
    assert build_prompt(snapshot_with_library(CALLS, project_files="none"), offset, engine).related == ()
    found = build_prompt(snapshot_with_library(CALLS), offset, engine)
    assert [snippet.path for snippet in found.related] == ["store.py"]
    assert replace(found, related=()) == build_prompt(
        snapshot_with_library(CALLS, project_files="none"), offset, engine
    )
    none = build_prompt(
        replace(snapshot_with_library(CALLS), related=Related(96, lambda *_: [])), offset, engine
    )
    assert none.related == ()
    read_ = complete(snapshot_with_library(CALLS), offset, engine)
    alone = complete(snapshot_with_library(CALLS, project_files="none"), offset, engine)
    assert read_ is not None and alone is not None
    assert read_.infill.prompt_tokens > alone.infill.prompt_tokens


def test_related_text_keeps_the_cache_valid_while_the_user_types(unpacked_model: Path) -> None:
    """Only the cursor's line and the end of the prompt are read again, although the typed text uses other names."""
    engine, cache = load_local_engine(str(unpacked_model), "cpu"), PipelineCache()
    offset = CALLS.index("    \n") + 4
    start, rest = CALLS[:offset], CALLS[offset:]
    typed = "stock = paint(canvas)\n    other = Store()\n    "
    read_: list[int] = []
    for end in range(len(typed) + 1):
        now = start + typed[:end]
        found = complete(snapshot_with_library(now + rest, max_tokens=4), len(now), engine, Job(cache=cache))
        assert found is not None
        read_.append(found.infill.prompt_tokens - found.infill.cached_tokens)
    assert read_[0] > 60 and max(read_[1:]) < 20
    assert build_prompt(snapshot_with_library(now + rest, max_tokens=4), len(now), engine, cache).related


def test_snapshots_that_differ_only_in_the_library_are_equal() -> None:
    assert snapshot_with_library(CALLS) == snapshot(text=CALLS)
