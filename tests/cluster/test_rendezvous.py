"""Rendezvous hashing."""

from __future__ import annotations

from collections import Counter

from mercury_lsp.cluster.router import rank_replicas

NAMES = ("a1", "b2", "c3", "d4")
KEYS = [f"document-{number}" for number in range(2000)]


def test_the_ranking_does_not_depend_on_the_process_or_the_order_of_names() -> None:
    assert rank_replicas("document-1", NAMES) == rank_replicas("document-1", reversed(NAMES))
    assert sorted(rank_replicas("document-1", NAMES)) == sorted(NAMES)
    # The order must never change between versions.
    assert rank_replicas("document-1", NAMES) == ["d4", "c3", "b2", "a1"]


def test_keys_are_distributed_evenly() -> None:
    homes = Counter(rank_replicas(key, NAMES)[0] for key in KEYS)
    assert all(400 < homes[name] < 600 for name in NAMES)


def test_only_the_keys_of_a_removed_replica_move_each_to_its_second_choice() -> None:
    for gone in NAMES:
        left = [name for name in NAMES if name != gone]
        for key in KEYS:
            first, second, *_ = rank_replicas(key, NAMES)
            assert rank_replicas(key, left)[0] == (second if first == gone else first)


def test_a_new_replica_takes_an_equal_share_of_keys_from_each_other() -> None:
    moved = Counter()
    for key in KEYS:
        before, after = rank_replicas(key, NAMES)[0], rank_replicas(key, [*NAMES, "e5"])[0]
        assert after in (before, "e5")
        moved[before] += after == "e5"
    assert 300 < moved.total() < 500 and min(moved.values()) > 50
