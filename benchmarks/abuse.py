"""One person saves every 200 ms while somebody attacks the server: how long does a save take meanwhile?

    python benchmarks/abuse.py [--seconds 60] [--before 30] [--slow 200]
    python benchmarks/abuse.py --quick

The server is `annotator run` with its page and its worker, in a process of its own; so is the attacker, who
carries out everything of `tests/faults/attacks.py` at once, each again half a second after its answer: bodies
of 10 GB announced and in chunks, a byte a second, wrong and contradicting lengths, a gzip bomb, forms and
multipart bodies of 10 MB and 10,000 parts by both upload routes, beside `--slow` connections that never end
their request. Compared in one run with the same person on the same server without the attack. `--quick` is
shorter and ends within 45 s on two cores. Needs Linux (/proc). The last line is `RESULT {json}`:

    other_save_p95_ms, other_save_max_ms   saves during the attack; other_saves how many they were
    idle_save_p95_ms                       saves before it
    rss_growth_mb                          most memory of the server during the attack, less that before it
    answers                                by attack: status or `cut`, how often
    longest_s                              the longest wait of an attacker for its answer or the cut
    harmful                                attacks answered otherwise than by a refusal or a cut within 30 s
    errors, lost                           of the person: refused saves, acknowledged answers that are missing
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not

from tests.faults.besieged import attacked, memory_of, somebody_saving, worked  # noqa: E402
from tests.faults.saving import examine, make_world  # noqa: E402
from tests.faults.servers import whole  # noqa: E402

QUICK = {"seconds": 16.0, "before": 3.0}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both phases on one server; the figures by name."""
    world = make_world(folder / "data")
    with Progress(transient=True) as progress, whole(world.data_dir) as server:
        phase = progress.add_task("saving without an attack", total=2)
        idle = worked(world, server.port, "idle", options.before)
        progress.update(phase, advance=1, description=f"under attack for {options.seconds:g} s or longer")
        with memory_of(server.pid) as memory, somebody_saving(world, server.port, "other") as other:
            found = attacked(server.port, world.project, seconds=options.seconds, slow=options.slow)
        progress.update(phase, advance=1)
        server.end()
    for error in (idle.errors + other.errors)[:20]:
        print("error:", error)
    return {
        "other_save_p95_ms": float(np.percentile(other.ms, 95)),
        "other_save_max_ms": max(other.ms),
        "other_saves": len(other.ms),
        "idle_save_p95_ms": float(np.percentile(idle.ms, 95)),
        "rss_growth_mb": memory[1] - memory[0],
        "answers": {name: dict(outcome.answers) for name, outcome in found.items()},
        "longest_s": max(outcome.longest_s for outcome in found.values()),
        "harmful": sorted(name for name, outcome in found.items() if not outcome.harmless()),
        "errors": len(idle.errors) + len(other.errors),
        "lost": examine(world.database, idle.acknowledged + other.acknowledged).lost,
    }


def main() -> None:
    """Parse the options, measure, print the result line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the attack")
    parser.add_argument("--before", type=float, default=30.0, help="length of the work before it")
    parser.add_argument("--slow", type=int, default=200, help="connections that never end their request")
    parser.add_argument("--quick", action="store_true", help="shorter; ends within 45 s on two cores")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(**QUICK)
    options = parser.parse_args()
    if min(options.seconds, options.before) < 2 or not 0 <= options.slow <= 1000:
        parser.error("--seconds and --before must be at least 2 and --slow between 0 and 1000.")
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options)
    rounded = {
        name: round(value, 2) if isinstance(value, float) else value for name, value in figures.items()
    }
    print("RESULT " + json.dumps(dict(sorted(rounded.items()))))


if __name__ == "__main__":
    main()
