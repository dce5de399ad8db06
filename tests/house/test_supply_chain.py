"""A-50: no package below a version with a known hole, a lock with digests, a bill of materials."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from db.engine import sqlite_module, wal_is_safe
from tests.faults.claims import Claims
from tools import supply_chain
from tools.supply_chain import Locked, bill, from_report, normal, read_lock, write_lock

ROOT = Path(__file__).parents[2]
FLOORS = {
    "starlette": "1.3.1",
    "python-multipart": "0.0.31",
    "fastapi": "0.109.1",
    "gradio": "6.16",
    "pillow": "12.3.0",
    "torch": "2.10",
    "safetensors": "0.8",
    "faiss-cpu": "1.15.1",
}
LISTS = ("requirements.txt", "requirements-gpu.txt")


def wanted(name: str) -> dict[str, Requirement]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {normal(one.name): one for one in found}


@pytest.mark.parametrize("package", FLOORS)
def test_what_is_installed_is_above_the_floor(package: str) -> None:
    assert Version(version(package)) >= Version(FLOORS[package])


def test_the_lists_and_the_lock_allow_nothing_below_a_floor(claim: Claims) -> None:
    shown = claim("A-50", "No version below a known hole can be installed.", unit="packages")
    locked = {one.name: Version(one.version) for one in read_lock()}
    for package, floor in FLOORS.items():
        assert locked[package] >= Version(floor)
        for name in LISTS:
            asked = wanted(name)
            if package == "faiss-cpu" and name == "requirements-gpu.txt":
                continue
            lowest = [spec.version for spec in asked[package].specifier if spec.operator in (">=", "==")]
            assert lowest and Version(lowest[0]) >= Version(floor), f"{name}: {package}"
    shown.done(len(FLOORS))


def test_the_sqlite_library_has_no_race_when_it_resets_its_log() -> None:
    assert wal_is_safe(tuple(sqlite_module().sqlite_version_info))


@pytest.mark.parametrize(
    "library",
    [(3, 40, 1), (3, 50, 6), (3, 51, 2), (3, 44, 5), (3, 45, 0)],
    ids=lambda v: ".".join(map(str, v)),
)
def test_an_affected_sqlite_library_is_known(library: tuple[int, ...]) -> None:
    assert not wal_is_safe(library)


def test_the_lock_answers_the_list_of_requirements() -> None:
    locked = {one.name: one.version for one in read_lock()}
    assert len(locked) > 50
    for name, asked in wanted("requirements.txt").items():
        assert name in locked and asked.specifier.contains(locked[name]), f"run `make lock`: {name}"


def test_the_bill_lists_every_locked_package_with_its_digest() -> None:
    packages = read_lock()
    document = json.loads(json.dumps(bill(packages, version="1.2.3", now=0.0)))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["version"] == "1.2.3"
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", document["serialNumber"])
    digests = {one["purl"]: one["hashes"][0]["content"] for one in document["components"]}
    assert digests == {f"pkg:pypi/{one.name}@{one.version}": one.sha256 for one in packages}
    assert document["dependencies"][0]["dependsOn"] == list(digests)
    licensed = [one for one in document["components"] if one.get("licenses")]
    assert len(licensed) > len(packages) / 3


def test_a_lock_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    def found(name: str, number: str) -> dict[str, object]:
        return {
            "metadata": {"name": name, "version": number},
            "download_info": {"archive_info": {"hashes": {"sha256": "ab" * 32}}},
        }

    packages = from_report({"install": [found("Zope.thing", "2"), found("a_b", "1.0+x")]})
    assert packages == [Locked("a-b", "1.0+x", "ab" * 32), Locked("zope-thing", "2", "ab" * 32)]
    write_lock(packages, tmp_path / "lock")
    assert read_lock(tmp_path / "lock") == packages
    (tmp_path / "lock").write_text("a==1\n")
    with pytest.raises(ValueError, match=r"lock line 1 is not"):
        read_lock(tmp_path / "lock")


def test_a_package_without_a_digest_is_not_locked() -> None:
    odd = {"install": [{"metadata": {"name": "a", "version": "1"}, "download_info": {"vcs_info": {}}}]}
    with pytest.raises(KeyError):
        from_report(odd)


def test_the_programs_own_version_is_found() -> None:
    import annotator

    assert supply_chain.own_version() == annotator.__version__
