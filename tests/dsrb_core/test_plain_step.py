"""The step on category vectors is the published step on whole maps, and its benchmark says so."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.method_cases import GRID, Case, Sizes
from dsrb_core.prototypes import quadrant

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def case() -> Case:
    made = Case(Sizes(batch=5, categories=7, dim=12, rank=8))
    made.plain_step()
    made.vector_step()
    return made


def test_step_on_vectors_has_the_logits_and_the_loss_of_the_published_step_on_maps(case: Case) -> None:
    plain_logits, plain_loss = case.plain_step()
    logits, loss = case.vector_step()
    assert logits.shape == (3, 5, 7)
    assert torch.allclose(logits, plain_logits, atol=1e-5)
    assert torch.allclose(loss, plain_loss, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["fc1", "fc2", "fc3", "fc4", "fuse", "fuse_bias", "class_weight", "class_bias", "alpha", "beta"]
)
def test_step_on_vectors_has_the_gradient_of_the_published_step(case: Case, name: str) -> None:
    plain, ours = case.gradients()[name]
    assert float(plain.abs().max()) > 1e-4
    assert torch.allclose(ours, plain, atol=1e-5 * float(plain.abs().max().clamp_min(1.0)))


def test_both_ways_of_inference_agree(case: Case) -> None:
    assert torch.allclose(case.plain_infer(), case.vector_infer(), atol=1e-5)


def test_the_compared_step_really_blends_both_ways_from_another_part_of_the_picture(case: Case) -> None:
    logits, _ = case.plain_step()
    receives = (case.labels == 0) & (case.labels[case.partner] == 1)
    chosen = case.choices.classes
    assert bool(receives.any()) and bool(chosen.any(dim=1).all())
    assert float((logits[1] - logits[0])[receives].abs().min()) > 1e-4
    assert float((logits[2] - logits[0])[chosen].abs().min()) > 1e-4
    with torch.no_grad():
        own = quadrant(case.attention(case.tokens)[1], GRID, 2)
    assert not bool((case.choices.quadrants == own).any())


def test_largest_difference_sees_a_weight_that_differs() -> None:
    case = Case(Sizes(batch=3, categories=4, dim=8, rank=4))
    assert case.largest_difference() < 1e-5
    with torch.no_grad():
        case.head["class_bias"][0] += 0.01
    assert case.largest_difference() > 1e-3


def test_the_benchmark_ends_with_one_result_line_of_its_five_figures() -> None:
    small = ["--quick", "--batch=8", "--categories=40", "--dim=128", "--rank=64", "--threads=1"]
    command = [sys.executable, "benchmarks/method_speed.py", *small]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    word, _, values = done.stdout.splitlines()[-1].partition(" ")
    found = json.loads(values)
    assert word == "RESULT"
    assert list(found) == ["step_ratio", "step_memory_ratio", "infer_ratio", "max_diff", "metrics_s"]
    assert 0 <= found.pop("max_diff") < 1e-5
    assert all(value > 0 for value in found.values())
