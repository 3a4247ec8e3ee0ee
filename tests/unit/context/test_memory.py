"""Tests of the project memory: its matches equal those of a brute-force search, and some texts never match."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercury_lsp.context.memory.project import MAX_SHORTER_MATCHES, DocumentMemory, ProjectMemory
from mercury_lsp.context.memory.segment import Segment, dtype_for
from mercury_lsp.engine.decoding.mixture import CONTEXT_TOKENS, Level, Match

VOCABULARIES = (2**16 - 1, 2**16)  # the largest with 2 bytes per id, and one with 4


def segment_of(files: dict[str, list[int]], dtype: np.dtype[np.unsignedinteger]) -> Segment:
    return Segment.build([(path, np.array(ids, dtype)) for path, ids in files.items()], dtype)


def memory_of(*parts: dict[str, list[int]], vocabulary: int = 1000) -> ProjectMemory:
    dtype = dtype_for(vocabulary)
    return ProjectMemory(
        tuple(segment_of(part, dtype) for part in parts), tuple(frozenset[str]() for _ in parts)
    )


def view(
    memory: ProjectMemory, before: Sequence[int] = (), after: Sequence[int] = (), path: str = "open"
) -> DocumentMemory:
    dtype = np.dtype(f"u{memory.segments[0].width}" if memory.segments else "u2")
    return memory.for_document(path, np.array(before, dtype), np.array(after, dtype))


def common_suffix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of equal tokens at the ends of two texts."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return min(
        CONTEXT_TOKENS, next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    )


def brute_force(
    texts: Sequence[Sequence[int]], context: Sequence[int], steps: int
) -> list[tuple[int, Counter[int]]]:
    """Return the longest match with its continuations, and a shorter one found at more than twice as many places."""
    lengths = [(common_suffix(text[:i], context), text[i]) for text in texts for i in range(1, len(text))]
    distinct = sorted({length for length, _ in lengths if length}, reverse=True)
    levels: list[tuple[int, Counter[int]]] = []
    for length in distinct[:steps]:
        followed = Counter(token for own, token in lengths if own >= length)
        if not levels or (len(levels) == 1 and followed.total() > 2 * levels[0][1].total()):
            levels.append((length, followed))
    return levels


def as_counters(levels: Sequence[Level]) -> list[tuple[int, Counter[int]]]:
    for level in levels:
        assert level.counts[0] == max(level.counts) and level.total == sum(level.counts)
    return [(level.length, Counter(dict(zip(level.ids, level.counts, strict=True)))) for level in levels]


texts = st.lists(st.integers(0, 3), max_size=40)
projects = st.lists(texts, max_size=6)


@given(projects, projects, texts, texts, st.lists(st.integers(0, 4), min_size=1, max_size=50), st.data())
@settings(max_examples=150, deadline=None)
def test_matches_equal_those_of_a_brute_force_search(
    first: list[list[int]],
    second: list[list[int]],
    before: list[int],
    after: list[int],
    context: list[int],
    data: st.DataObject,
) -> None:
    parts = [{f"{n}/{i}": own for i, own in enumerate(part)} for n, part in enumerate((first, second))]
    vocabulary = data.draw(st.sampled_from(VOCABULARIES))
    every = [*parts[0], *parts[1]]
    gone = set(data.draw(st.lists(st.sampled_from(every), unique=True))) if every else set()
    here = data.draw(st.sampled_from(["elsewhere", *every]))
    known = memory_of(*parts, vocabulary=vocabulary).without(gone)
    match = view(known, before, after, here).find_match(context)
    alive = [own for part in parts for path, own in part.items() if path not in gone | {here}]
    assert as_counters(match.project) == brute_force(alive, context, MAX_SHORTER_MATCHES)
    assert as_counters(match.document) == brute_force([before, after], context, CONTEXT_TOKENS)


@given(projects, st.lists(st.integers(0, 3), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_merging_segments_does_not_change_matches(
    files: list[list[int]], context: list[int], data: st.DataObject
) -> None:
    named = {str(i): own for i, own in enumerate(files)}
    cut = data.draw(st.integers(0, len(files)))
    parts = dict(list(named.items())[:cut]), dict(list(named.items())[cut:])
    whole, apart = (view(memory_of(*some)).find_match(context) for some in ((named,), parts))
    assert as_counters(whole.project) == as_counters(apart.project)


@given(projects)
@settings(max_examples=60, deadline=None)
def test_the_tokens_of_each_file_can_be_read_back(files: list[list[int]]) -> None:
    segment = segment_of({str(i): own for i, own in enumerate(files)}, dtype_for(10))
    assert [segment.ids(i).tolist() for i in range(len(files))] == files
    assert segment.count([str(i) for i in range(len(files))]) == sum(map(len, files)) + len(files)


def test_no_match_crosses_the_end_of_a_file_or_the_cursor() -> None:
    memory = memory_of({"a": [1, 2, 3], "b": [4, 5]})
    assert view(memory).find_match([2, 3]) == Match()  # nothing follows the end of a file
    assert view(memory, [6, 7], [8, 9]).find_match([6, 7]) == Match()  # nor the text before the cursor
    assert view(memory, [6, 7], [8, 9]).find_match([7, 8]).document == (Level(1, (9,), (1,), 1),)


def test_the_context_at_the_cursor_does_not_match_itself() -> None:
    match = view(memory_of(), [1, 2, 3, 9, 1, 2, 3], [5]).find_match([1, 2, 3, 9, 1, 2, 3])
    assert match.document[0] == Level(3, (9,), (1,), 1)


def test_the_saved_file_of_the_open_document_does_not_match() -> None:
    memory = memory_of({"open": [1, 2, 3], "other": [1, 2, 4]})
    match = view(memory).find_match([1, 2])
    assert match.ids == (4,) and match.path == "other"
    assert view(memory, [1, 2, 5, 1, 2], path="open").find_match([1, 2]).path == "open"


def test_a_removed_file_never_matches_again() -> None:
    memory = memory_of({"a": [1, 2, 3], "b": [1, 2, 4]}).without(["a"])
    assert view(memory).find_match([1, 2]).ids == (4,)
    assert view(memory.without(["b"])).find_match([1, 2]) == Match()
    assert view(memory.without([])).find_match([1, 2]).ids == (4,)


def test_a_continuation_follows_the_majority_and_gives_its_evidence() -> None:
    memory = memory_of({"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4, 6], "c": [1, 2, 3, 4, 6], "d": [1, 2, 7]})
    steps = view(memory).predict_continuation([1, 2], 8)
    assert [step.token for step in steps] == [3, 4, 6]
    assert [(step.length, step.total, step.agreeing) for step in steps] == [(2, 4, 3), (3, 3, 3), (4, 3, 2)]
    assert not any(step.document for step in steps)
    assert view(memory).predict_continuation([1, 2], 2) == steps[:2]
    assert view(memory).predict_continuation([], 2) == [] and view(memory).predict_continuation([99], 2) == []


def test_the_document_takes_precedence_over_equally_long_matches_in_the_project() -> None:
    steps = view(memory_of({"a": [1, 2, 3]}), [1, 2, 5, 6, 0]).predict_continuation([1, 2], 8)
    assert [step.token for step in steps] == [5, 6, 0] and all(step.document for step in steps)


def test_a_match_gives_the_number_of_tokens_that_it_shares_with_the_text_after_the_cursor() -> None:
    memory = memory_of({"a": [1, 2, 3, 4, 5]})
    assert view(memory, [], [3, 4, 9]).find_match([1, 2]).resumes == 2
    assert view(memory, [], [3, 4, 5]).find_match([1, 2]).resumes == 3
    assert view(memory, [], [4]).find_match([1, 2]).resumes == 0


def test_an_empty_context_and_an_empty_memory_have_no_match() -> None:
    assert view(ProjectMemory()).find_match([1]) == Match() == view(memory_of({})).find_match([])
    assert view(memory_of({"empty": []}, {})).find_match([1]).length == 0


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_size_of_a_segment_is_limited_by_its_tokens(vocabulary: int) -> None:
    dtype = dtype_for(vocabulary)
    ids = np.random.default_rng(0).integers(0, 50_000, 100_000).astype(dtype)
    segment = Segment.build([("a", ids)], dtype)
    order = segment.indices(0, len(ids), len(ids))
    assert len(segment.text) + order.nbytes <= (4 + dtype.itemsize) * len(ids) + 1000


def test_a_lookup_does_not_scan_the_whole_index() -> None:
    """A lookup bisects, so its time hardly grows with the index."""
    random_ids = np.random.default_rng(0).integers(0, 3000, 400_000).astype(np.uint16)

    def seconds(tokens: int) -> float:
        there = view(memory_of({"a": random_ids[:tokens].tolist()}))
        draw = random.Random(0)
        starts = [draw.randrange(tokens - CONTEXT_TOKENS) for _ in range(200)]
        contexts = [random_ids[at : at + CONTEXT_TOKENS].tolist() for at in starts]
        taken = []
        for _ in range(3):
            began = time.perf_counter()
            for context in contexts:
                there._find_match(tuple(context))
            taken.append(time.perf_counter() - began)
        return min(taken)

    assert seconds(400_000) < 5 * seconds(10_000)
