"""The protocol: what methods may see, what is reported, and that a stopped run goes on where it was."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dsrb_core import __main__ as command
from dsrb_core import protocol
from dsrb_core.bench_report import as_json, averages, markdown, panels, summarise, table, write_report
from dsrb_core.config import TrainConfig
from dsrb_core.datasets import Dataset
from dsrb_core.judging import figures, judge, mean_and_spread
from dsrb_core.labels import hide_labels
from dsrb_core.metrics import mean_average_precision, threshold_metrics
from dsrb_core.plot import Panel, Point, line_chart
from dsrb_core.protocol import Cell, CellResult, Plan, partial_labels, run_plan, scores_of
from tests.references import ArraySource, localised

QUICK = TrainConfig(epochs=2, learning_rate=5e-3, blend_from=1, prototypes_every=2, floor_l2=(0.3,))
PLAN = Plan(methods=("linear", "knn"), known=(0.3, 0.6), seeds=(0, 1), training=QUICK)


@pytest.fixture(scope="module")
def data() -> tuple[Dataset, ArraySource]:
    source, labels, _ = localised(120, categories=4, dim=12, side=2)
    names = tuple(f"{row}.jpg" for row in range(120))
    paths = tuple(Path(name) for name in names)
    rows = np.arange(120)
    made = Dataset("synthetic", names, paths, ("a", "b", "c", "d"), labels, rows[:90], rows[90:])
    return made, source


def poisoned(dataset: Dataset, known: float, seed: int) -> Dataset:
    """The same set with every hidden cell and every test label turned round."""
    partial = partial_labels(dataset, known, seed=seed)
    return replace(dataset, labels=np.where(partial == 0, -dataset.labels, dataset.labels))


# --- what a method may see


def test_only_training_cells_are_known_and_masks_are_nested(data: tuple[Dataset, ArraySource]) -> None:
    dataset, _ = data
    few, many = (partial_labels(dataset, p, seed=3) for p in (0.2, 0.7))
    assert not few[dataset.test].any()
    assert np.array_equal(few[dataset.train], hide_labels(dataset.labels[dataset.train], 0.2, seed=3))
    assert ((few != 0) <= (many != 0)).all()
    assert ((many == 0) | (many == dataset.labels)).all()
    assert (many[dataset.train] != 0).mean() == pytest.approx(0.7, abs=0.1)
    assert not np.array_equal(few, partial_labels(dataset, 0.2, seed=4))


@pytest.mark.parametrize("name", ["linear", "knn", "selective", "sst", "sarb", "dsrb"])
def test_poisoned_hidden_labels_change_no_score(name: str, data: tuple[Dataset, ArraySource]) -> None:
    dataset, source = data
    bad = poisoned(dataset, 0.5, 1)
    assert (bad.labels != dataset.labels).mean() > 0.5
    clean, other = (
        scores_of(Cell(name, 0.5, 1), source, partial_labels(one, 0.5, seed=1), dataset=one, training=QUICK)
        for one in (dataset, bad)
    )
    assert np.array_equal(clean, other)


def test_complete_labels_are_read_by_the_judge_alone(
    data: tuple[Dataset, ArraySource], tmp_path: Path
) -> None:
    dataset, source = data
    plan = replace(PLAN, known=(0.5,), seeds=(1,), methods=("linear",))
    honest = run_plan(plan, dataset, source, tmp_path / "a", digest="1")[0]
    bad = run_plan(plan, poisoned(dataset, 0.5, 1), source, tmp_path / "b", digest="2")[0]
    # Same scores against the opposite truth: good ranking becomes bad ranking.
    assert honest.test["map"] is not None and bad.test["map"] is not None
    assert honest.test["map"] > 0.4
    reversed_map = mean_average_precision(
        scores_of(
            Cell("linear", 0.5, 1),
            source,
            partial_labels(dataset, 0.5, seed=1),
            dataset=dataset,
            training=QUICK,
        )[dataset.test],
        -dataset.labels[dataset.test],
    )
    assert bad.test["map"] == pytest.approx(reversed_map)


# --- judging


def test_figures_are_those_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((40, 6)).astype(np.float32)
    truth = np.where(rng.random((40, 6)) < 0.4, 1, -1).astype(np.int8)
    found = figures(scores, truth)
    assert found["map"] == pytest.approx(mean_average_precision(scores, truth))
    assert found["map_interpolated"] == pytest.approx(
        mean_average_precision(scores, truth, interpolated=True)
    )
    assert found["map_interpolated"] > found["map"]
    plain, top = threshold_metrics(scores, truth), threshold_metrics(scores, truth, top=3)
    assert (found["cp"], found["or"], found["of1"]) == (plain.cp, plain.or_, plain.of1)
    assert (found["top3_cr"], found["top3_op"], found["top3_cf1"]) == (top.cr, top.op, top.cf1)
    assert len(found) == 14


def test_hidden_cells_are_judged_apart_and_known_ones_never() -> None:
    labels = np.array([[1, -1, 1], [-1, 1, -1], [1, 1, -1], [-1, -1, 1]], dtype=np.int8)
    names = ("a", "b", "c", "d")
    dataset = Dataset(
        "x", names, tuple(map(Path, names)), ("p", "q", "r"), labels, np.arange(2), np.arange(2, 4)
    )
    partial = np.array([[1, 0, 0], [0, 0, -1], [0, 0, 0], [0, 0, 0]], dtype=np.int8)
    scores = np.where(labels > 0, 2.0, -2.0).astype(np.float32)
    test, hidden = judge(dataset, partial, scores)
    assert test["of1"] == hidden["of1"] == hidden["map"] == 1.0
    wrong = scores.copy()
    wrong[partial != 0] *= -1  # known cells scored badly: nobody asks
    assert judge(dataset, partial, wrong)[1] == hidden
    wrong[0, 1] = 5.0
    assert judge(dataset, partial, wrong)[1]["of1"] < 1.0


def test_the_top_three_of_a_picture_are_chosen_among_the_counted_cells() -> None:
    scores = np.array([[9, 8, 7, 1, -1]], dtype=np.float32)
    truth = np.array([[0, 0, 0, 1, -1]], dtype=np.int8)
    assert figures(scores, truth)["top3_or"] == 1.0


def test_nothing_hidden_is_undefined_and_a_score_that_is_not_finite_is_refused() -> None:
    truth = np.array([[1, -1]], dtype=np.int8)
    assert set(figures(np.zeros((1, 2), np.float32), 0 * truth).values()) == {None}
    assert figures(np.zeros((1, 2), np.float32), truth)["map"] is None
    with pytest.raises(ValueError, match="not finite"):
        figures(np.array([[np.nan, 0]], np.float32), truth)


def test_mean_and_spread_skip_what_is_undefined() -> None:
    assert mean_and_spread([1.0, None, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert mean_and_spread([0.5]) == (0.5, None)
    assert mean_and_spread([None]) == (None, None)


# --- the grid


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": ("linear", "lda")}, "no method 'lda'"),
        ({"methods": ()}, "methods needs at least one value"),
        ({"known": (0.1, 0.1)}, "none twice"),
        ({"known": (0.0,)}, r"\(0, 1\], not 0.0"),
        ({"known": (float("nan"),)}, "not nan"),
        ({"seeds": (-1,)}, "seed must lie"),
    ],
)
def test_an_impossible_plan_is_refused_in_a_sentence(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(PLAN, **options)


def test_a_stopped_run_goes_on_where_it_was(
    data: tuple[Dataset, ArraySource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, source = data
    seen: list[Cell] = []

    def stop_at_the_fourth(done: int, total: int, cell: Cell) -> None:
        assert total == 8
        if done == 3:
            raise KeyboardInterrupt
        seen.append(cell)

    with pytest.raises(KeyboardInterrupt):
        run_plan(PLAN, dataset, source, tmp_path, digest="d", on_cell=stop_at_the_fourth)
    assert sorted(path.name for path in (tmp_path / "cells").iterdir()) == sorted(
        cell.file_name for cell in seen
    )
    ran: list[Cell] = []
    plain = protocol._run_cell

    def counted(cell: Cell, *rest: object) -> CellResult:
        ran.append(cell)
        return plain(cell, *rest)

    monkeypatch.setattr(protocol, "_run_cell", counted)
    results = run_plan(PLAN, dataset, source, tmp_path, digest="d")
    assert ran == PLAN.cells()[3:]
    assert [result.cell for result in results] == PLAN.cells()
    fresh = run_plan(PLAN, dataset, source, tmp_path / "fresh", digest="d")
    assert [(one.test, one.hidden) for one in results] == [(one.test, one.hidden) for one in fresh]


def test_a_cell_of_other_data_or_options_or_a_damaged_one_is_computed_again(
    data: tuple[Dataset, ArraySource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset, source = data
    plan = replace(PLAN, known=(0.6,), seeds=(0,), methods=("linear",))
    path = tmp_path / "cells" / plan.cells()[0].file_name

    def written(plan: Plan, digest: str) -> str:
        run_plan(plan, dataset, source, tmp_path, digest=digest)
        return str(json.loads(path.read_text())["identity"])

    first = written(plan, "a")
    assert written(plan, "b") != first
    assert written(replace(plan, training=replace(QUICK, floor_l2=(1.0,))), "b") not in (first, "")
    path.write_text(path.read_text()[:50])
    assert written(plan, "a") == first
    assert "damaged" in caplog.text
    assert not list(tmp_path.rglob("*.tmp"))


def test_cells_are_unordered_files_with_their_own_names() -> None:
    names = [cell.file_name for cell in PLAN.cells()]
    assert len(set(names)) == len(names) == 8
    assert Cell("dsrb-paper-head", 0.1, 2).file_name == "dsrb-paper-head_known-0.1_seed-2.json"
    assert [(c.seed, c.known, c.method) for c in PLAN.cells()][:3] == [
        (0, 0.3, "linear"),
        (0, 0.3, "knn"),
        (0, 0.6, "linear"),
    ]


# --- the report


def made_up(plan: Plan) -> list[CellResult]:
    """mAP = known + seed / 10 for linear, 0.1 less for the other, undefined when hidden."""
    names = figures(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int8))
    results = []
    for cell in plan.cells():
        value = cell.known + cell.seed / 10 - (0.1 if cell.method == "knn" else 0.0)
        results.append(CellResult(cell, dict.fromkeys(names, value), names, 2.0))
    return results


def test_the_table_holds_mean_spread_and_the_average_over_proportions() -> None:
    lines = table(made_up(PLAN), PLAN, "test")
    assert lines[0].startswith("| known | method | mAP | mAP interpolated | CF1 | OF1 | CF1 top-3 |")
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| 30 % | linear | 35.0 ± 7.1 |")
    assert lines[5].startswith("| 60 % | knn | 55.0 ± 7.1 |")
    assert lines[6].startswith("| average | linear | 50.0 ± 7.1 |")
    assert "| - |" in table(made_up(PLAN), PLAN, "hidden")[2]
    alone = replace(PLAN, known=(0.3,), seeds=(1,))
    assert table(made_up(alone), alone, "test")[2].startswith("| 30 % | linear | 40.0 | 40.0 |")
    assert len(table(made_up(alone), alone, "test")) == 4


def test_the_average_needs_every_seed_only_once() -> None:
    found = averages(made_up(PLAN), "test")["knn"]["map"]
    assert found.mean == pytest.approx(0.4)
    assert found.spread == pytest.approx(0.5**0.5 / 10)
    assert summarise(made_up(PLAN), "test")["knn", 0.6]["of1"].mean == pytest.approx(0.55)


def test_page_and_json_say_what_was_done(data: tuple[Dataset, ArraySource], tmp_path: Path) -> None:
    dataset, _ = data
    paths = write_report(made_up(PLAN), PLAN, dataset, tmp_path)
    assert [path.name for path in paths] == ["results.json", "results.md", "results.png"]
    page = paths[1].read_text()
    assert page == markdown(made_up(PLAN), PLAN, dataset)
    for part in ("90 training and 30 test pictures", "seeds 0, 1", "## Test pictures", "lite0-320"):
        assert part in page
    assert "## Hidden cells of labelled (training) pictures" in page
    assert "| knn | cosine vote" in page
    kept = json.loads(paths[0].read_text())
    assert kept == json.loads(json.dumps(as_json(made_up(PLAN), PLAN, dataset)))
    assert len(kept["cells"]) == 8
    assert kept["test"][0]["map"]["mean"] == pytest.approx(0.35)
    assert kept["hidden"][0]["map"] == {"mean": None, "spread": None}


# --- the plot


def colours(data: bytes) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return {colour for _, colour in image.getcolors(maxcolors=10**6)}  # type: ignore[misc,union-attr]


def test_the_plot_draws_a_line_per_method_in_two_panels() -> None:
    results = made_up(PLAN)
    picture = line_chart(panels(results, PLAN))
    image = Image.open(io.BytesIO(picture))
    assert image.format == "PNG"
    assert image.width > 1.5 * image.height * 0.8
    assert {(0, 0, 0), (230, 159, 0)} <= colours(picture)
    only = line_chart([Panel("t", "x", "y", {"a": [Point(0.1, 0.5, None)]})])
    assert (230, 159, 0) not in colours(only)
    with pytest.raises(ValueError, match="at least one panel"):
        line_chart([])


# --- the command


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty small pictures whose colour says what is on them, with complete labels."""
    folder = tmp_path_factory.mktemp("colours")
    (folder / "images").mkdir()
    rng, lines = np.random.default_rng(0), ["file_name,red,blue"]
    for number in range(40):
        red, blue = number % 2, number // 2 % 2
        pixels = rng.integers(0, 60, (24, 24, 3), dtype=np.uint8)
        pixels[:12, :, 0] += np.uint8(180 * red)
        pixels[12:, :, 2] += np.uint8(180 * blue)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        lines.append(f"{number}.png,{red},{blue}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def run(*arguments: object) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=120)
    code = command.main([str(one) for one in arguments], console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_one_command_compares_methods_and_a_second_call_computes_nothing_again(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["bench", "--data", pictures, "--known", "0.5, 0.9", "--methods", "linear,knn,dsrb", "--seeds",
               "0", "--backbone", "tiny", "--epochs", 2, "--threads", 1, "--device", "cpu"]  # fmt: skip
    options += ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    code, said = run(*options)
    assert code == 0, said
    assert "30 training and 10 test pictures, 2 categories, 6 runs" in said
    assert "linear" in said
    assert "results.md" in said
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert kept["test"][3]["method"] == "linear"
    assert kept["test"][3]["map"]["mean"] > 0.9
    assert (tmp_path / "cache" / "tiny" / "maps.f16").exists()

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(protocol, "_run_cell", never)
    before = (tmp_path / "out" / "results.json").read_bytes()
    assert run(*options)[0] == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == before


def test_a_mistake_is_one_sentence_and_an_interruption_says_how_to_go_on(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = run("bench", "--data", tmp_path, "--methods", "linear")
    assert (code, said.count("\n")) == (1, 1)
    assert "no labels.csv" in said
    code, said = run("bench", "--data", pictures, "--methods", "lda")
    assert code == 1
    assert "There is no method 'lda'" in said

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_plan", interrupted)
    code, said = run(
        "bench", "--data", pictures, "--methods", "linear", "--backbone", "tiny", "--out", tmp_path
    )
    assert code == 130
    assert "goes on" in said


def test_an_unreadable_picture_stops_the_protocol(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    lines = (pictures / "labels.csv").read_text().splitlines()[:5]
    for line in lines[1:]:
        name = line.split(",")[0]
        (tmp_path / "images" / name).write_bytes((pictures / "images" / name).read_bytes())
    (tmp_path / "images" / "2.png").write_bytes(b"no picture")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    code, said = run(
        "bench", "--data", tmp_path, "--methods", "linear", "--backbone", "tiny", "--out", tmp_path
    )
    assert code == 1
    assert "have no features; the first is 2.png" in said


def test_a_list_that_is_no_list_of_numbers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(["bench", "--data", "x", "--known", "0.1,half"])
    assert stopped.value.code == 2
    assert "'0.1,half' is no comma-separated list of numbers" in capsys.readouterr().err
