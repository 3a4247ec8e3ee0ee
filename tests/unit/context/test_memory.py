"""The project memory's look-ups against a search by brute force, and what must never be found."""

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

VOCABULARIES = (2**16 - 1, 2**16)  # the largest with two bytes an id, and one with four


def built(files: dict[str, list[int]], dtype: np.dtype[np.unsignedinteger]) -> Segment:
    return Segment.build([(path, np.array(ids, dtype)) for path, ids in files.items()], dtype)


def memory_of(*parts: dict[str, list[int]], vocabulary: int = 1000) -> ProjectMemory:
    dtype = dtype_for(vocabulary)
    return ProjectMemory(tuple(built(part, dtype) for part in parts), tuple(frozenset[str]() for _ in parts))


def beside(
    memory: ProjectMemory, before: Sequence[int] = (), after: Sequence[int] = (), path: str = "open"
) -> DocumentMemory:
    dtype = np.dtype(f"u{memory.segments[0].width}" if memory.segments else "u2")
    return memory.for_document(path, np.array(before, dtype), np.array(after, dtype))


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens in which the ends of two texts agree."""
    pairs = zip(reversed(one), reversed(other), strict=False)
    return min(
        CONTEXT_TOKENS, next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    )


def searched(
    texts: Sequence[Sequence[int]], context: Sequence[int], steps: int
) -> list[tuple[int, Counter[int]]]:
    """The longest match's length with what followed, and those of a shorter one at more than twice as many places."""
    lengths = [(common(text[:i], context), text[i]) for text in texts for i in range(1, len(text))]
    distinct = sorted({length for length, _ in lengths if length}, reverse=True)
    levels: list[tuple[int, Counter[int]]] = []
    for length in distinct[:steps]:
        followed = Counter(token for own, token in lengths if own >= length)
        if not levels or (len(levels) == 1 and followed.total() > 2 * levels[0][1].total()):
            levels.append((length, followed))
    return levels


def told(levels: Sequence[Level]) -> list[tuple[int, Counter[int]]]:
    for level in levels:
        assert level.counts[0] == max(level.counts) and level.total == sum(level.counts)
    return [(level.length, Counter(dict(zip(level.ids, level.counts, strict=True)))) for level in levels]


texts = st.lists(st.integers(0, 3), max_size=40)
projects = st.lists(texts, max_size=6)


@given(projects, projects, texts, texts, st.lists(st.integers(0, 4), min_size=1, max_size=50), st.data())
@settings(max_examples=150, deadline=None)
def test_matches_are_those_of_a_search_by_brute_force(
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
    match = beside(known, before, after, here).find_match(context)
    alive = [own for part in parts for path, own in part.items() if path not in gone | {here}]
    assert told(match.project) == searched(alive, context, MAX_SHORTER_MATCHES)
    assert told(match.document) == searched([before, after], context, CONTEXT_TOKENS)


@given(projects, st.lists(st.integers(0, 3), min_size=1, max_size=40), st.data())
@settings(max_examples=60, deadline=None)
def test_merging_changes_nothing(files: list[list[int]], context: list[int], data: st.DataObject) -> None:
    named = {str(i): own for i, own in enumerate(files)}
    cut = data.draw(st.integers(0, len(files)))
    parts = dict(list(named.items())[:cut]), dict(list(named.items())[cut:])
    whole, apart = (beside(memory_of(*some)).find_match(context) for some in ((named,), parts))
    assert told(whole.project) == told(apart.project)


@given(projects)
@settings(max_examples=60, deadline=None)
def test_the_tokens_of_each_file_can_be_read_again(files: list[list[int]]) -> None:
    segment = built({str(i): own for i, own in enumerate(files)}, dtype_for(10))
    assert [segment.ids(i).tolist() for i in range(len(files))] == files
    assert segment.count([str(i) for i in range(len(files))]) == sum(map(len, files)) + len(files)


def test_nothing_matches_across_files_nor_across_the_cursor() -> None:
    memory = memory_of({"a": [1, 2, 3], "b": [4, 5]})
    assert beside(memory).find_match([2, 3]) == Match()  # nothing comes after a file's end
    assert beside(memory, [6, 7], [8, 9]).find_match([6, 7]) == Match()  # nor at the cursor
    assert beside(memory, [6, 7], [8, 9]).find_match([7, 8]).document == (Level(1, (9,), (1,), 1),)


def test_the_context_at_the_cursor_is_not_found_in_itself() -> None:
    match = beside(memory_of(), [1, 2, 3, 9, 1, 2, 3], [5]).find_match([1, 2, 3, 9, 1, 2, 3])
    assert match.document[0] == Level(3, (9,), (1,), 1)


def test_the_file_of_an_open_document_does_not_count_and_others_do() -> None:
    memory = memory_of({"open": [1, 2, 3], "other": [1, 2, 4]})
    match = beside(memory).find_match([1, 2])
    assert match.ids == (4,) and match.path == "other"
    assert beside(memory, [1, 2, 5, 1, 2], path="open").find_match([1, 2]).path == "open"


def test_a_removed_file_is_gone_at_once_and_stays_so() -> None:
    memory = memory_of({"a": [1, 2, 3], "b": [1, 2, 4]}).without(["a"])
    assert beside(memory).find_match([1, 2]).ids == (4,)
    assert beside(memory.without(["b"])).find_match([1, 2]) == Match()
    assert beside(memory.without([])).find_match([1, 2]).ids == (4,)


def test_a_continuation_follows_the_majority_with_what_speaks_for_it() -> None:
    memory = memory_of({"a": [1, 2, 3, 4, 5], "b": [1, 2, 3, 4, 6], "c": [1, 2, 3, 4, 6], "d": [1, 2, 7]})
    steps = beside(memory).predict_continuation([1, 2], 8)
    assert [step.token for step in steps] == [3, 4, 6]
    assert [(step.length, step.total, step.agreeing) for step in steps] == [(2, 4, 3), (3, 3, 3), (4, 3, 2)]
    assert not any(step.document for step in steps)
    assert beside(memory).predict_continuation([1, 2], 2) == steps[:2]
    assert (
        beside(memory).predict_continuation([], 2) == []
        and beside(memory).predict_continuation([99], 2) == []
    )


def test_the_documents_own_continuation_comes_first_where_it_matches_as_long() -> None:
    steps = beside(memory_of({"a": [1, 2, 3]}), [1, 2, 5, 6, 0]).predict_continuation([1, 2], 8)
    assert [step.token for step in steps] == [5, 6, 0] and all(step.document for step in steps)


def test_a_match_tells_how_far_it_resumes_after_the_cursor() -> None:
    memory = memory_of({"a": [1, 2, 3, 4, 5]})
    assert beside(memory, [], [3, 4, 9]).find_match([1, 2]).resumes == 2
    assert beside(memory, [], [3, 4, 5]).find_match([1, 2]).resumes == 3
    assert beside(memory, [], [4]).find_match([1, 2]).resumes == 0


def test_no_context_and_no_file_match_nothing() -> None:
    assert beside(ProjectMemory()).find_match([1]) == Match() == beside(memory_of({})).find_match([])
    assert beside(memory_of({"empty": []}, {})).find_match([1]).length == 0


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_size_is_bounded_by_tokens(vocabulary: int) -> None:
    dtype = dtype_for(vocabulary)
    ids = np.random.default_rng(0).integers(0, 50_000, 100_000).astype(dtype)
    segment = Segment.build([("a", ids)], dtype)
    order = segment.indices(0, len(ids), len(ids))
    assert len(segment.text) + order.nbytes <= (4 + dtype.itemsize) * len(ids) + 1000


def test_a_look_up_does_not_read_the_whole_index() -> None:
    """Its time hardly grows with the index: by bisection, not by a scan."""
    random_ids = np.random.default_rng(0).integers(0, 3000, 400_000).astype(np.uint16)

    def seconds(tokens: int) -> float:
        there = beside(memory_of({"a": random_ids[:tokens].tolist()}))
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
