"""Positives and negatives apart, searched as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrb_core.decided_index import NEGATIVE, POSITIVE, DecidedIndex, file_name
from dsrb_core.index import InstanceIndex


def vectors(count: int, *, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def states(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + 1).choice([1, -1], count).astype(np.int8)


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 40),
    k=st.integers(1, 12),
    share=st.floats(0, 1),
    own=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_nearest_of_both_are_those_of_one_exact_index(
    count: int, k: int, share: float, own: bool, seed: int
) -> None:
    stored, asked, ids = vectors(count, seed=seed), vectors(5, seed=seed + 5000), np.arange(count) * 3 + 1
    said = np.where(np.random.default_rng(seed).random(count) < share, 1, -1).astype(np.int8)
    asked[: min(5, count)] = stored[:5]
    mine = np.arange(5) * 3 + 1 if own else None
    joint = InstanceIndex.empty(6)
    joint.add(ids, stored)
    expected_ids, expected = joint.search(asked, k, own=mine)
    index = DecidedIndex.build(ids, stored, said)
    assert len(index) == count
    found = index.near(asked, k, own=mine).nearest(k).sorted()
    assert found.ids.shape == (5, k)
    np.testing.assert_allclose(found.similarities, expected, atol=1e-6)
    assert np.array_equal(found.ids, expected_ids)
    by_id = dict(zip(ids.tolist(), said.tolist(), strict=True)) | {-1: 0}
    assert found.states.tolist() == [[by_id[i] for i in row] for row in found.ids.tolist()]


def test_the_nearest_of_each_state_come_first_positives_then_negatives() -> None:
    stored, said = vectors(30), states(30)
    found = DecidedIndex.build(np.arange(30), stored, said).near(vectors(1, seed=9), 4)
    similar = stored @ vectors(1, seed=9)[0]
    for place, state in ((slice(0, 4), POSITIVE), (slice(4, 8), NEGATIVE)):
        mine = np.flatnonzero(said == state)
        assert found.ids[0, place].tolist() == mine[np.argsort(-similar[mine])][:4].tolist()
        assert (found.states[0, place] == state).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([1, -1, 0])), max_size=30),
    st.sampled_from([3, 1000]),
)
def test_after_any_changes_it_is_as_if_built_from_the_last_states(
    changes: list[tuple[int, int]], flat_limit: int
) -> None:
    stored, now = vectors(10), dict(enumerate(states(10).tolist()))
    index = DecidedIndex.build(np.arange(10), stored, states(10), flat_limit=flat_limit)
    for image, state in changes:
        if state:
            index.put(np.array([image]), stored[image][None], np.array([state], np.int8))
        else:
            index.remove([image])
        now[image] = state
    for state in (POSITIVE, NEGATIVE):
        assert index.of[state].ids.tolist() == [image for image, said in now.items() if said == state]
        assert all(index.holds(image, state) == (said == state) for image, said in now.items())
    assert sorted(index.ids.tolist()) == [image for image, said in now.items() if said]
    found = index.near(stored[:1], 10)
    assert sorted(found.ids[found.ids >= 0].tolist()) == sorted(index.ids.tolist())


def test_each_state_has_its_file(tmp_path: Path) -> None:
    index = DecidedIndex.build(np.arange(9), vectors(9), states(9))
    index.save(tmp_path, 7)
    assert {path.name for path in tmp_path.iterdir()} == {"7.positive.faiss", "7.negative.faiss"}
    assert {file_name(7, POSITIVE), file_name(7, NEGATIVE)} == {path.name for path in tmp_path.iterdir()}


def test_other_states_are_refused_and_left_out() -> None:
    index = DecidedIndex.build(np.arange(4), vectors(4), np.array([1, 0, -1, 2], np.int8))
    assert index.ids.tolist() == [0, 2] and index.recall == 1.0
    with pytest.raises(ValueError, match=r"state \+1 or -1"):
        index.put(np.array([1]), vectors(1), np.array([2], np.int8))
    with pytest.raises(ValueError, match="6 numbers and negatives 5"):
        DecidedIndex(InstanceIndex.empty(6), InstanceIndex.empty(5))
