"""Neighbours: exact where they should be, and every FAISS trap closed."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrb_core import index as module
from dsrb_core.index import ImageIndex, InstanceIndex, faiss_installation_problem, gpu_count


def vectors(count: int, dim: int = 8, *, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def filled(count: int = 20, dim: int = 8) -> InstanceIndex:
    index = InstanceIndex.empty(dim)
    index.add(np.arange(count) + 100, vectors(count, dim))
    return index


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 30),
    k=st.integers(1, 12),
    left_out=st.lists(st.integers(100, 135), max_size=6),
    seed=st.integers(0, 1000),
)
def test_search_equals_brute_force(count: int, k: int, left_out: list[int], seed: int) -> None:
    index = InstanceIndex.empty(8)
    stored, query = vectors(count, seed=seed), vectors(1, seed=seed + 5000)[0]
    index.add(np.arange(count) + 100, stored)
    ids, similarities = index.search(query, k, exclude=left_out)
    scores = {100 + n: float(stored[n] @ query) for n in range(count) if 100 + n not in left_out}
    best = sorted(scores, key=lambda i: -scores[i])[:k]
    assert ids.tolist() == best
    np.testing.assert_allclose(similarities, [scores[i] for i in best], atol=1e-5)


def test_many_vectors_give_padded_rows_and_none_is_its_own_neighbour() -> None:
    index = filled(4)
    ids, similarities = index.search(vectors(4), 5, own=np.arange(4) + 100)
    assert ids.shape == similarities.shape == (4, 5)
    for row in range(4):
        assert 100 + row not in ids[row]
        assert sorted(ids[row, :3]) == sorted({100, 101, 102, 103} - {100 + row})
        assert ids[row, 3:].tolist() == [-1, -1] and np.isneginf(similarities[row, 3:]).all()


def test_an_empty_index_has_no_neighbours() -> None:
    ids, similarities = InstanceIndex.empty(8).search(vectors(1)[0], 3)
    assert ids.size == similarities.size == 0


def test_an_id_left_out_may_be_a_single_number() -> None:
    nearest = filled().search(vectors(20)[3], 1)[0]
    assert nearest.tolist() == [103]
    assert 103 not in filled().search(vectors(20)[3], 5, exclude=103)[0]


def test_a_new_vector_for_a_known_id_takes_the_old_ones_place() -> None:
    index = filled(5)
    index.add([102], -vectors(5)[2:3])
    assert len(index) == 5
    ids, similarities = index.search(-vectors(5)[2], 5)
    assert ids[0] == 102 and similarities[0] == pytest.approx(1.0, abs=1e-5)
    assert sorted(ids.tolist()) == [100, 101, 102, 103, 104]


def test_a_removed_vector_is_found_no_more() -> None:
    index = filled(5)
    assert index.remove([103, 999, 103]) == 1
    assert 103 not in index and len(index) == 4
    assert 103 not in index.search(vectors(5)[3], 5)[0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused_in_adding_and_searching(bad: float) -> None:
    index, wrong = filled(), vectors(2, seed=1)
    wrong[1, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        index.add([1, 2], wrong)
    with pytest.raises(ValueError, match="not finite"):
        index.search(wrong, 1)
    assert len(index) == 20 and 1 not in index


def test_a_wrong_dimension_is_one_clear_sentence() -> None:
    with pytest.raises(ValueError, match=r"vectors of length 8, not \(7,\)"):
        filled().search(vectors(1, 7)[0], 1)
    with pytest.raises(ValueError, match="vectors of length 8"):
        filled().add([1], vectors(1, 9))


@pytest.mark.parametrize(
    ("ids", "message"), [([1], "1 ids for 2"), ([-1, 2], "0 or more"), ([3, 3], "given once")]
)
def test_wrong_ids_are_refused(ids: list[int], message: str) -> None:
    index = filled()
    with pytest.raises(ValueError, match=message):
        index.add(ids, vectors(2))
    assert len(index) == 20


def test_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1"):
        filled().search(vectors(1)[0], 0)


@pytest.mark.parametrize("count", [0, 12])
def test_a_saved_index_answers_the_same_and_can_grow(tmp_path: Path, count: int) -> None:
    index = filled(count)
    digest = index.save(tmp_path / "7.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["7.faiss"]
    loaded = InstanceIndex.load(tmp_path / "7.faiss", digest)
    for ours, theirs in zip(
        index.search(vectors(3, seed=4), 4), loaded.search(vectors(3, seed=4), 4), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    loaded.add([100, 500], vectors(2, seed=8))
    assert len(loaded) == len({100, 500} | set(range(100, 100 + count)))


@settings(max_examples=25, deadline=None)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed_before_faiss_reads_the_file(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("index") / "1.faiss"
    digest = filled().save(path)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(ValueError, match="does not match its SHA-256"):
        InstanceIndex.load(path, digest)


def test_another_kind_of_index_is_refused_even_with_the_right_digest(tmp_path: Path) -> None:
    images = ImageIndex.build(np.arange(300), vectors(300), flat_limit=100)
    digest = images.save(tmp_path / "a.faiss")
    with pytest.raises(ValueError, match="is a IndexIVFScalarQuantizer"):
        InstanceIndex.load(tmp_path / "a.faiss", digest)


def grouped(count: int, dim: int = 16, *, groups: int = 40, seed: int = 0) -> np.ndarray:
    """Unit vectors in tight groups."""
    rng = np.random.default_rng(seed)
    found = vectors(groups, dim, seed=seed)[rng.integers(0, groups, count)]
    found = found + 0.1 * rng.standard_normal((count, dim)).astype(np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.mark.parametrize("kind", ["grouped", "uniform", "equal"])
def test_many_instances_use_inverted_lists_that_find_nearly_all_of_the_ten_nearest(
    kind: str, tmp_path: Path
) -> None:
    made = {"grouped": grouped, "uniform": vectors, "equal": lambda n, d: np.tile(vectors(1, d), (n, 1))}
    stored = made[kind](3000, 16)
    index = InstanceIndex.build(np.arange(3000) + 7, stored, flat_limit=1000)
    assert index.recall is not None and index.recall >= 0.99
    asked = made[kind](3300, 16)[3000:] if kind != "equal" else stored[:300]
    tenth = np.sort(asked @ stored.T, axis=1)[:, -10]
    ids, similarities = index.search(asked, 10)
    # By similarity: of equal ones any will do.
    assert (similarities >= tenth[:, None] - 1e-5).mean() > 0.97
    np.testing.assert_allclose(similarities, np.take_along_axis(asked @ stored.T, ids - 7, axis=1), atol=1e-5)
    loaded = InstanceIndex.load(tmp_path / "1", index.save(tmp_path / "1"))
    np.testing.assert_array_equal(loaded.search(asked, 10)[1], similarities)
    assert loaded.recall is None and loaded.ids.tolist() == list(range(7, 3007))


def test_grouped_instances_need_few_of_the_lists() -> None:
    index = InstanceIndex.build(np.arange(3000), grouped(3000), flat_limit=1000)
    assert index._index.nprobe < index._index.nlist / 4


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 60), limit=st.integers(1, 70), seed=st.integers(0, 100))
def test_an_index_is_exact_up_to_the_limit_and_recalls_enough_above(
    count: int, limit: int, seed: int
) -> None:
    stored = vectors(count, 4, seed=seed)
    index = InstanceIndex.build(np.arange(count), stored, flat_limit=limit)
    assert type(index._index).__name__ == ("IndexIDMap2" if count <= limit else "IndexIVFFlat")
    assert index.recall is not None and index.recall >= (1.0 if count <= limit else 0.99)
    assert len(index) == count and index.search(stored[0], 1)[1][0] == pytest.approx(1.0, abs=1e-5)


def test_inverted_lists_of_instances_grow_and_shrink() -> None:
    stored = grouped(2000)
    index = InstanceIndex.build(np.arange(2000), stored, flat_limit=500)
    index.add([5, 9000], np.stack([stored[6], -stored[5]]))
    assert len(index) == 2001 and index.search(-stored[5], 1)[0].tolist() == [9000]
    assert 5 in index.search(stored[6], 2)[0]
    assert index.remove([9000, 6, 77777]) == 2
    assert len(index) == 1999 and not {6, 9000} & set(index.search(stored[6], 50)[0].tolist())


@pytest.mark.parametrize("limit", [10, 10_000])
def test_building_checks_what_adding_checks(limit: int) -> None:
    stored = vectors(50)
    for ids, given_vectors, message in (
        (np.zeros(50, np.int64), stored, "given once"),
        (np.arange(49), stored, "49 ids for 50"),
        (np.arange(50), np.where(stored == stored[3, 3], np.nan, stored), "not finite"),
        (np.arange(8), stored[0], r"built from vectors \(N, D\)"),
    ):
        with pytest.raises(ValueError, match=message):
            InstanceIndex.build(ids, given_vectors, flat_limit=limit)


def test_a_gpu_where_there_is_one_searches_a_copy_that_follows_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies: list[int] = []

    def copied(resources: object, device: int, index: object) -> object:
        copies.append(device)
        return faiss.clone_index(index)

    monkeypatch.setattr(module, "gpu_count", lambda: 1)
    monkeypatch.setattr(module, "_gpu_resources", lambda: None)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", copied, raising=False)
    monkeypatch.setattr(InstanceIndex, "gpu_from", 10)
    small, index = filled(9), filled(12)
    small.search(vectors(1)[0], 3)
    assert copies == [], "few vectors are scanned sooner than copied"
    index.search(vectors(1)[0], 3)
    index.search(vectors(1)[0], 3)
    assert copies == [0]
    index.remove([100])
    assert 100 not in index.search(vectors(20)[0], 3)[0] and copies == [0, 0]


def test_small_image_sets_are_searched_exactly() -> None:
    stored = vectors(50)
    ids, similarities = ImageIndex.build(np.arange(50) + 7, stored).search(stored[:3], 2)
    assert ids[:, 0].tolist() == [7, 8, 9]
    np.testing.assert_allclose(similarities[:, 0], 1.0, atol=1e-5)


def test_large_image_sets_use_inverted_lists_that_load_grow_and_shrink(tmp_path: Path) -> None:
    stored = vectors(2000, 16)
    index = ImageIndex.build(np.arange(2000), stored, flat_limit=500)
    exact = np.argsort(-(stored[:200] @ stored.T), axis=1)[:, :5]
    found = index.search(stored[:200], 5)[0]
    recall = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(exact, found, strict=True)])
    assert recall > 0.7
    loaded = ImageIndex.load(tmp_path / "i", index.save(tmp_path / "i"))
    assert len(loaded) == 2000 and 1999 in loaded
    np.testing.assert_array_equal(loaded.search(stored[:50], 5)[0], index.search(stored[:50], 5)[0])
    loaded.add([5, 9000], np.stack([stored[6], -stored[5]]))
    assert len(loaded) == 2001
    assert loaded.search(-stored[5], 1)[0].tolist() == [9000]
    assert 5 in loaded.search(stored[6], 2)[0]


def test_an_image_index_is_built_from_rows_of_vectors() -> None:
    with pytest.raises(ValueError, match="built from vectors"):
        ImageIndex.build([1], vectors(1)[0])


def test_this_machine_has_a_working_faiss() -> None:
    assert faiss_installation_problem() is None


def test_two_faiss_packages_are_reported_with_the_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("faiss_cpu", "faiss_gpu"):
        info = tmp_path / f"{name}-1.15.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.15.1\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    problem = faiss_installation_problem()
    assert problem is not None and "faiss-cpu and faiss-gpu" in problem and "pip uninstall" in problem


def test_a_missing_faiss_is_reported_with_the_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    module._faiss.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    try:
        problem = faiss_installation_problem()
    finally:
        module._faiss.cache_clear()
    assert problem is not None and "does not work here" in problem


def test_gpus_are_counted_by_faiss_itself() -> None:
    assert gpu_count() == faiss.get_num_gpus()
