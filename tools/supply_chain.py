"""What the program is made of: a lock file with digests, and a bill of materials (CycloneDX JSON).

    python tools/supply_chain.py lock     writes requirements.lock from requirements.txt
    python tools/supply_chain.py sbom     writes sbom.json from requirements.lock

The lock is for the machine it is made on (CPython 3.11 on Linux x86-64 is the one that is released); it lists
everything that `pip` would install, with the digest of each file, for `pip install --require-hashes`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
SBOM = ROOT / "sbom.json"
_LINE = re.compile(r"^([a-z0-9-]+)==([^ ]+) --hash=sha256:([0-9a-f]{64})$")


class Locked(NamedTuple):
    """One package of the lock file."""

    name: str
    version: str
    sha256: str


def normal(name: str) -> str:
    """One spelling per package, as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def resolve(requirements: Path) -> list[Locked]:
    """What pip would install into an empty environment, by name."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
        subprocess.run([*command, "--report", str(report), "-r", str(requirements)], check=True)
        return from_report(json.loads(report.read_text(encoding="utf-8")))


def from_report(report: dict[str, Any]) -> list[Locked]:
    """The packages of a report of pip; KeyError for one that comes without a digest."""
    return sorted(
        Locked(
            normal(found["metadata"]["name"]),
            found["metadata"]["version"],
            found["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for found in report["install"]
    )


def write_lock(packages: list[Locked], target: Path = LOCK) -> None:
    """One line per package."""
    python = ".".join(map(str, sys.version_info[:2]))
    lines = [f"# Made by `make lock` with Python {python} on {sys.platform}; install with --require-hashes."]
    lines += [f"{one.name}=={one.version} --hash=sha256:{one.sha256}" for one in packages]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_lock(path: Path = LOCK) -> list[Locked]:
    """The packages of a lock file; ValueError names a line that is none."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"{path.name} line {number} is not NAME==VERSION --hash=sha256:DIGEST.")
        found.append(Locked(*match.groups()))
    return found


def licence_of(name: str) -> str:
    """What an installed package says of its licence; empty where it is not installed or says nothing."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return ""
    text = told.get("License-Expression") or told.get("License") or ""
    return text.splitlines()[0].strip()[:100] if text else ""


def bill(packages: list[Locked], *, version: str, now: float) -> dict[str, Any]:
    """A CycloneDX 1.6 document of the program and these packages."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    content = "\n".join(map(str, packages)) + version
    program = {"type": "application", "bom-ref": "annotator", "name": "annotator", "version": version}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}",
        "version": 1,
        "metadata": {"timestamp": moment, "component": program},
        "components": [component(one) for one in packages],
        "dependencies": [{"ref": "annotator", "dependsOn": [purl(one) for one in packages]}],
    }


def component(one: Locked) -> dict[str, Any]:
    """One package as CycloneDX writes it."""
    told = {
        "type": "library",
        "bom-ref": purl(one),
        "name": one.name,
        "version": one.version,
        "purl": purl(one),
        "hashes": [{"alg": "SHA-256", "content": one.sha256}],
    }
    licence = licence_of(one.name)
    return told | ({"licenses": [{"license": {"name": licence}}]} if licence else {})


def purl(one: Locked) -> str:
    """The package's address among all packages of all languages."""
    return f"pkg:pypi/{one.name}@{one.version}"


def own_version() -> str:
    """The version in annotator/__init__.py, read without importing anything."""
    text = (ROOT / "annotator" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise ValueError("annotator/__init__.py has no __version__.")
    return found[1]


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("lock", "sbom"))
    if parser.parse_args().what == "lock":
        write_lock(resolve(ROOT / "requirements.txt"))
        return
    document = bill(read_lock(), version=own_version(), now=time.time())
    SBOM.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
