"""N-07: damaged weights and indexes; none is used, and what only looks right ends in one sentence."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from annotator import artifacts
from annotator.artifacts import ArtifactWriter
from annotator.errors import ArtifactDamaged
from dsrb_core.checkpoint import load_model, save_model
from dsrb_core.config import DSRBConfig
from dsrb_core.model import DSRB
from tests.faults.claims import Claims, size
from tests.faults.test_mutated_files import BOUNDARY, mutated

SEED = 14


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a small model."""
    torch.manual_seed(0)
    config = DSRBConfig(dim=6, attention_dim=4, graph_dim=3, hidden=5)
    save_model(DSRB(features=8, grid=(2, 3), categories=4, config=config).eval(), tmp_path / "saved")
    return tmp_path / "saved"


def test_damaged_weights_with_a_fitting_digest_load_finite_or_not_at_all(saved: Path, claim: Claims) -> None:
    """Whoever can write the file can write the digest: then the reader itself has to hold."""
    shown = claim("N-07", "no damaged weights end the reader, or give a number that is none", unit="files")
    chance, weights = random.Random(SEED), (saved / "model.safetensors").read_bytes()
    about = json.loads((saved / "config.json").read_text())
    wanted, taken = size(120, 1_250), 0
    for place in range(wanted):
        data = mutated(weights, chance, list(BOUNDARY))
        if place % 2:  # where the names and shapes are
            data = mutated(weights[:600], chance, list(BOUNDARY)) + weights[600:]
        (saved / "model.safetensors").write_bytes(data)
        about["sha256"] = hashlib.sha256(data).hexdigest()
        (saved / "config.json").write_text(json.dumps(about))
        try:
            model = load_model(saved)
        except ValueError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
        else:
            taken += 1
            assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert 0 < taken < wanted
    shown.done(wanted, taken=taken, refused=wanted - taken, seed=SEED)


def test_no_damaged_file_of_a_generation_passes_its_manifest(saved: Path, claim: Claims) -> None:
    shown = claim("N-07", "every damaged file of a generation is refused by its manifest", unit="files")
    chance, folder = random.Random(SEED), saved.parent / "generation"
    with ArtifactWriter(folder) as writer:
        shutil.copytree(saved, writer.folder / "checkpoint")
        (writer.folder / "1.positive.faiss").write_bytes(random.Random(1).randbytes(3_000))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    wanted = done = size(120, 1_250)
    while done:
        path = chance.choice(files)
        before = path.read_bytes()
        after = mutated(before, chance, list(BOUNDARY))
        if after == before:
            continue
        path.write_bytes(after)
        with pytest.raises(ArtifactDamaged):
            artifacts.verify(folder, writer.manifest_sha256)
        path.write_bytes(before)
        done -= 1
    artifacts.verify(folder, writer.manifest_sha256)
    shown.done(wanted, seed=SEED)
