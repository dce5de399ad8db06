"""The feature cache: durable appends, torn tails, one writer, many readers."""

from __future__ import annotations

import errno
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsrb_core.cache import FeatureCache

GRID, DIM = (2, 3), 4
FILES = ("maps.f16", "pooled.f32", "keys.txt")


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def maps(count: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 6, DIM)).astype(np.float16)


def writer(folder: Path) -> FeatureCache:
    return FeatureCache.open(folder, grid=GRID, dim=DIM, writable=True)


def filled(folder: Path, count: int) -> np.ndarray:
    values = maps(count)
    with writer(folder) as cache:
        cache.append([key(n) for n in range(count)], values)
    return values


def test_what_is_appended_is_read_back_bit_for_bit_in_the_order_asked(tmp_path: Path) -> None:
    values = filled(tmp_path, 5)
    view = FeatureCache.read_only(tmp_path).view([key(4), key(0), key(2)])
    assert (len(view), view.locations, view.dim, view.grid) == (3, 6, DIM, GRID)
    np.testing.assert_array_equal(view.read(np.array([0, 1, 2])), values[[4, 0, 2]])
    np.testing.assert_array_equal(view.read(np.array([2])), values[[2]])
    assert view.read(np.array([0])).dtype == np.float16


def test_pooled_is_the_mean_over_the_locations(tmp_path: Path) -> None:
    values = filled(tmp_path, 5)
    cache = FeatureCache.read_only(tmp_path)
    keys = [key(n) for n in range(5)]
    np.testing.assert_allclose(cache.pooled(keys), values.astype(np.float32).mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(cache.view(keys[::-1]).pooled(), cache.pooled(keys)[::-1])
    assert cache.pooled(keys).dtype == np.float32


def test_an_empty_cache_can_be_read(tmp_path: Path) -> None:
    writer(tmp_path).close()
    cache = FeatureCache.read_only(tmp_path)
    assert len(cache) == 0 and key(0) not in cache
    assert cache.view([]).pooled().shape == (0, DIM)
    assert cache.view([]).read(np.array([], np.int64)).shape == (0, 6, DIM)


def test_a_reader_sees_new_rows_after_refresh_and_keeps_its_old_views(tmp_path: Path) -> None:
    values = maps(4)
    with writer(tmp_path) as cache:
        cache.append([key(0)], values[:1])
        reader = FeatureCache.read_only(tmp_path)
        view = reader.view([key(0)])
        cache.append([key(1), key(2)], values[1:3])
        assert key(1) not in reader
        assert reader.refresh() == 2 and reader.refresh() == 0
        np.testing.assert_array_equal(reader.view([key(2)]).read(np.array([0])), values[2:3])
        np.testing.assert_array_equal(view.read(np.array([0])), values[:1])


def test_a_key_without_features_is_named(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    with pytest.raises(ValueError, match=f"{key(7)}.*no features"):
        FeatureCache.read_only(tmp_path).view([key(0), key(7)])


def test_another_backbones_shape_is_refused_in_one_sentence(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    for writable in (True, False):
        with pytest.raises(
            ValueError, match=r"holds maps of \(2, 3\) x 4, but the backbone gives \(2, 3\) x 5"
        ):
            FeatureCache.open(tmp_path, grid=GRID, dim=5, writable=writable)
    writer(tmp_path).close()  # the refusal gave the lock back


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 1, "grid": [2], "dim": 4}'])
def test_a_damaged_meta_file_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    filled(tmp_path, 1)
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(ValueError, match=r"damaged meta\.json"):
        FeatureCache.read_only(tmp_path)


@pytest.mark.parametrize("change", [{"format": 2}, {"dim": 0}, {"dim": "4"}])
def test_an_unknown_meta_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    filled(tmp_path, 1)
    meta = json.loads((tmp_path / "meta.json").read_text()) | change
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="does not know"):
        FeatureCache.read_only(tmp_path)


def test_a_missing_cache_is_no_silent_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no feature cache"):
        FeatureCache.read_only(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no feature cache"):
        FeatureCache.open(tmp_path / "nothing", grid=GRID, dim=DIM, writable=False)


def test_a_second_writer_is_refused_until_the_first_has_closed(tmp_path: Path) -> None:
    first = writer(tmp_path)
    with pytest.raises(RuntimeError, match="another process"):
        writer(tmp_path)
    first.close()
    writer(tmp_path).close()


@pytest.mark.skipif(sys.platform == "win32", reason="locks of another kind")
def test_a_disk_without_locks_is_not_taken_for_another_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unable)
    with pytest.raises(RuntimeError, match=r"cannot be locked \(No locks available\); use a local disk"):
        writer(tmp_path)


def test_the_lock_of_a_killed_writer_is_free_and_its_finished_append_is_there(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib, numpy as np\n"
        "from dsrb_core.cache import FeatureCache\n"
        "c = FeatureCache.open(pathlib.Path(sys.argv[1]), grid=(2, 3), dim=4, writable=True)\n"
        "c.append([sys.argv[2]], np.ones((1, 6, 4), np.float16))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), key(0)], cwd=root, check=False)
    assert done.returncode == -9
    with writer(tmp_path) as cache:
        assert key(0) in cache and len(cache) == 1


def test_a_read_only_cache_takes_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    with pytest.raises(RuntimeError, match="reading only"):
        FeatureCache.read_only(tmp_path).append([key(1)], maps(1))


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ([key(1)], maps(2), "takes 1 maps"),
        ([key(1)], np.zeros((1, 5, DIM)), "of 6 x 4"),
        ([key(1)], np.full((1, 6, DIM), np.nan), "not finite"),
        ([key(1)], np.full((1, 6, DIM), 1e6), "not finite"),
        (["abc"], maps(1), "'abc'"),
        ([key(1).upper()], maps(1), "SHA-256"),
        ([key(0)], maps(1), "twice"),
        ([key(1), key(1)], maps(2), "twice"),
    ],
)
def test_a_wrong_append_is_refused_and_changes_no_file(
    tmp_path: Path, keys: list[str], values: np.ndarray, message: str
) -> None:
    filled(tmp_path, 1)
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    with writer(tmp_path) as cache, pytest.raises(ValueError, match=message):
        cache.append(keys, values)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_a_picture_can_be_added_after_a_refused_one(tmp_path: Path) -> None:
    with writer(tmp_path) as cache:
        with pytest.raises(ValueError, match="not finite"):
            cache.append([key(0)], np.full((1, 6, DIM), np.inf))
        cache.append([key(0)], maps(1))
        np.testing.assert_array_equal(cache.view([key(0)]).read(np.array([0])), maps(1))


@settings(max_examples=40, deadline=None)
@given(
    extra=st.fixed_dictionaries({name: st.binary(max_size=150) for name in FILES}),
    cut=st.fixed_dictionaries({name: st.integers(0, 140) for name in FILES}),
)
def test_whatever_a_crash_leaves_the_complete_rows_survive_and_appending_goes_on(
    extra: dict[str, bytes], cut: dict[str, int]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = filled(folder, 4)
        sizes = {"maps.f16": 48, "pooled.f32": 16, "keys.txt": 65}
        for file in FILES:
            path = folder / file
            kept = path.read_bytes()[: max(0, path.stat().st_size - cut[file])]
            path.write_bytes(kept if cut[file] else kept + extra[file])
        whole = min(4 - -(-cut[file] // sizes[file]) for file in FILES)
        whole = max(0, whole)
        with writer(folder) as cache:
            assert len(cache) >= whole
            assert all(key(n) in cache for n in range(whole))
            cache.append([key(9)], maps(1, seed=9))
        reader = FeatureCache.read_only(folder)
        rows = [key(n) for n in range(whole)] + [key(9)]
        expected = np.concatenate([values[:whole], maps(1, seed=9)])
        np.testing.assert_array_equal(reader.view(rows).read(np.arange(whole + 1)), expected)


def test_zeros_in_place_of_keys_are_cut_off_and_never_read(tmp_path: Path) -> None:
    values = filled(tmp_path, 3)
    raw = (tmp_path / "keys.txt").read_bytes()
    (tmp_path / "keys.txt").write_bytes(raw[:65] + bytes(130))
    assert len(FeatureCache.read_only(tmp_path)) == 1
    with writer(tmp_path) as cache:
        assert len(cache) == 1 and (tmp_path / "maps.f16").stat().st_size == 48
        cache.append([key(1)], values[1:2])
    assert len(FeatureCache.read_only(tmp_path)) == 2


def test_reading_needs_no_torch() -> None:
    code = (
        "import sys, dsrb_core.cache, dsrb_core.index, dsrb_core.calibration; print('torch' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
