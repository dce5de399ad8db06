"""`python -m dsrb_core paper`: end to end, restartable, mistakes in one sentence."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torchvision import models

from dsrb_core import __main__ as command
from dsrb_core import paper_run
from dsrb_core.checkpoint import load_training, save_training
from dsrb_core.datasets import load_dataset
from dsrb_core.judging import figures
from dsrb_core.paper_command import choose_amp
from dsrb_core.paper_data import Key, PictureSet
from dsrb_core.paper_run import load_paper_net
from dsrb_core.paper_training import PaperLearner
from tests.dsrb_core.test_paper_data import SMALL, draw

Run = Callable[..., tuple[int, str]]
NAME = "dsrb_known-0.6_seed-0"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command on a small drawn set, writing to `tmp_path`/out: exit code and what was printed."""
    data = draw(tmp_path / "set")
    values = [
        f"{name}={json.dumps(value)}" for name, value in SMALL.to_dict().items() if not isinstance(value, str)
    ]
    sets = [part for text in [*values, "backbone=resnet18"] for part in ("--set", text)]
    usual = ["--data", data, "--known", "0.6", "--weights", "none", "--device", "cpu", "--workers", "0"]

    def runner(*arguments: object) -> tuple[int, str]:
        console = Console(file=io.StringIO(), width=200)
        given = ["paper", *usual, "--out", tmp_path / "out", *sets, *arguments]
        code = command.main([str(one) for one in given], console=console)
        assert isinstance(console.file, io.StringIO)
        return code, console.file.getvalue()

    return runner


def report_of(folder: Path, name: str = NAME) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "out" / f"{name}.json").read_text())
    return report


def test_a_run_leaves_figures_options_and_a_model(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).standard_normal((3, 7)))
    torch.save(models.resnet18(weights=None).state_dict(), tmp_path / "resnet.pth")
    code, told = run("--weights", tmp_path / "resnet.pth", "--category-vectors", tmp_path / "vectors.npy")
    assert code == 0, told
    assert "15 training and 5 test pictures, 3 categories; dsrb, 60 % known, seed 0" in told
    assert "test pictures: mAP " in told and f"{NAME}.json" in told
    report = report_of(tmp_path)
    assert report["options"] == SMALL.to_dict() | {"crops": list(SMALL.crops)}
    assert (report["weights"], report["category_vectors"], report["processes"]) == ("resnet.pth", [3, 7], 1)
    assert len(report["test"]) == len(report["hidden"]) == 14
    assert [epoch["learning_rate"] for epoch in report["history"]] == [1e-3] * 3
    assert "instance" in report["history"][1]["losses"] and "instance" not in report["history"][0]["losses"]
    assert report["seconds"] > sum(epoch["seconds"] for epoch in report["history"]) > 0
    # The checkpoint is the model: its scores are the ones that were judged.
    dataset = load_dataset(tmp_path / "set")
    net = load_paper_net(tmp_path / "out" / f"{NAME}.safetensors")
    assert int(net.bank.counts.sum()) > 0 and net.attention.words is not None
    pictures = PictureSet(dataset.paths, net.config, seed=0)
    pixels = [torch.from_numpy(pictures[Key(int(row), "plain")][0]) for row in dataset.test]
    with torch.no_grad():
        scores = net(torch.stack(pixels)).numpy()
    assert report["test"] == figures(scores, dataset.labels[dataset.test])


@pytest.mark.parametrize("method", ["ssgrl", "sarb"])
def test_the_other_methods_run_with_learned_vectors(method: str, run: Run, tmp_path: Path) -> None:
    code, told = run("--method", method, "--amp", "bf16")
    assert code == 0, told
    report = report_of(tmp_path, f"{method}_known-0.6_seed-0")
    assert report["options"]["amp"] == "bf16" and report["category_vectors"] is None
    assert len(report["history"][0]["lambdas"]) == (0 if method == "ssgrl" else 2)


def without_seconds(report: dict[str, Any]) -> dict[str, Any]:
    report = report | {"seconds": 0}
    return report | {"history": [epoch | {"seconds": 0} for epoch in report["history"]]}


def test_an_interrupted_run_goes_on_and_equals_an_uninterrupted_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run()[0] == 0
    straight, whole = report_of(tmp_path), load_training(tmp_path / "out" / f"{NAME}.safetensors")
    for path in (tmp_path / "out").iterdir():
        path.unlink()
    epoch, begun = PaperLearner.epoch, list[int]()

    def interrupted(learner: PaperLearner, index: int) -> dict[str, float]:
        begun.append(index)
        if begun == [0, 1, 2]:
            raise KeyboardInterrupt
        return epoch(learner, index)

    monkeypatch.setattr(PaperLearner, "epoch", interrupted)
    code, told = run()
    assert (code, begun) == (130, [0, 1, 2]) and "goes on where it was" in told
    assert not (tmp_path / "out" / f"{NAME}.json").exists()
    assert run()[0] == 0
    assert begun == [0, 1, 2, 2], "only the epoch that was not finished is run again"
    assert without_seconds(report_of(tmp_path)) == without_seconds(straight)
    resumed = load_training(tmp_path / "out" / f"{NAME}.safetensors")
    assert whole is not None and resumed is not None
    assert whole[0].keys() == resumed[0].keys()
    assert all(torch.equal(whole[0][name], resumed[0][name]) for name in whole[0])


def test_a_finished_run_is_told_again_and_another_one_is_never_overwritten(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run()[0] == 0
    before = (tmp_path / "out" / f"{NAME}.json").read_bytes()
    code, told = run("--set", "dim=8")
    assert code == 1
    assert f"{NAME}.safetensors belongs to a run with other data, options or processes" in told
    monkeypatch.setattr(paper_run, "build_net", None)  # nothing is built for a finished run
    assert run()[0] == 0
    assert (tmp_path / "out" / f"{NAME}.json").read_bytes() == before


def test_a_damaged_report_is_written_again_and_a_damaged_checkpoint_is_told(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run("--set", "epochs=1")[0] == 0
    (tmp_path / "out" / f"{NAME}.json").write_text("{")
    code, told = run("--set", "epochs=1")
    assert code == 0 and f"{NAME}.json is damaged and is written again" in caplog.text
    assert report_of(tmp_path)["test"]
    (tmp_path / "out" / f"{NAME}.json").unlink()
    (tmp_path / "out" / f"{NAME}.safetensors").write_bytes(b"nothing")
    code, told = run("--set", "epochs=1")
    assert code == 1 and f"The training checkpoint {NAME}.safetensors is damaged" in told


def test_only_checkpoints_of_the_paper_profile_are_loaded(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint .*none\.safetensors"):
        load_paper_net(tmp_path / "none.safetensors")
    save_training(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, {"identity": ""})
    with pytest.raises(ValueError, match=r"other\.safetensors is no checkpoint of a paper run"):
        load_paper_net(tmp_path / "other.safetensors")


def test_mistakes_are_one_sentence_with_the_value(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", np.zeros((2, 7), np.float32))
    np.save(tmp_path / "flat.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "nan.npy", np.full((3, 2), np.nan))
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}, {}, {}], dtype=object), allow_pickle=True)
    for arguments, sentence in [
        (["--method", "other"], "method must be one of ssgrl, sarb, dsrb, not 'other'"),
        (["--weights", tmp_path / "absent.pth"], f"There is no weights file {tmp_path / 'absent.pth'}"),
        (["--category-vectors", tmp_path / "two.npy"], "for each of the 3 categories, (C, S); found (2, 7)"),
        (["--category-vectors", tmp_path / "flat.npy"], "found (3,)"),
        (["--category-vectors", tmp_path / "nan.npy"], "nan.npy must be finite numbers"),
        (["--category-vectors", tmp_path / "text.npy"], "text.npy cannot be read as a .npy array"),
        (["--category-vectors", tmp_path / "objects.npy"], "objects.npy cannot be read as a .npy array"),
        (["--category-vectors", tmp_path / "absent.npy"], "absent.npy cannot be read as a .npy array"),
        (["--category-vectors", "random"], "not from 'random'"),
        (["--known", "1.5"], "A known proportion must lie in (0, 1], not 1.5"),
        (["--known", "0.0001"], "There is no label yet"),
        (["--seed", "-1"], "A seed must lie between 0 and 4294967295, not -1"),
        (["--workers", "-1"], "workers must not be negative, not -1"),
        (["--device", "tpu"], "device must be auto, cpu or cuda, not 'tpu'"),
        (["--amp", "int8"], "amp must be one of off, bf16, fp16, not 'int8'"),
        (["--amp", "fp16"], "amp fp16 needs a GPU"),
        (["--set", "batch_size=64"], "15 training pictures do not fill one step of 64 on each of 1"),
        (["--set", "backbone=vgg16"], "not 'vgg16'"),
        (["--data", tmp_path / "nowhere"], "holds no labels.csv"),
    ]:
        code, told = run(*arguments)
        assert code == 1 and sentence in told, (arguments, told)
        assert told.count("error: ") == 1 and "Traceback" not in told
    assert not (tmp_path / "out" / f"{NAME}.json").exists()


def test_an_unreadable_picture_ends_the_run_by_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "set" / "images" / "3.png").write_bytes(b"no picture")
    code, told = run()
    assert code == 1
    assert "3.png: the picture cannot be decoded (not a JPEG, PNG, WebP, BMP, TIFF or GIF picture)." in told


def test_automatic_precision_is_what_the_device_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_amp("auto", torch.device("cpu")) == "off"
    assert choose_amp("off", torch.device("cuda")) == "off"
    for able, expected in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able: able)
        assert choose_amp("auto", torch.device("cuda")) == expected
