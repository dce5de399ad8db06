"""The method on category vectors against the published form on whole maps, in one run.

    python benchmarks/method_speed.py [--quick] [--batch 8] [--categories 80] [--dim 1024] [--rank 512]

Both make the same training step (semantic attention, instance and prototype blending, classifier, losses of
the three views, backward) and the same inference with the same weights, partners, categories and prototypes;
the plain form is `plain_step` of tests/references.py. Times alternate between the two, peak memory is each
one's own process. The graph is left out of both: it would be the same code. One thread by default, so that
the ratio does not hang on who else uses the machine. The last line is `RESULT {json}`:

    step_ratio           time of the plain step / of ours
    step_memory_ratio    peak memory of the plain step / of ours
    infer_ratio          time of the plain batch inference / of ours
    max_diff             largest one: absolute in logits and loss, relative to its maximum in a gradient
    metrics_s            AP (both conventions) and threshold metrics (plain, top 3) over 40,000 x 80, seconds
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.method_cases import Sizes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script's own folder is on the path, the repository is not


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(plain: Callable[[], object], ours: Callable[[], object], *, rounds: int, name: str) -> float:
    """Median time of `plain` over the median of `ours`, measured in turns after a warm-up of each."""
    plain(), ours()
    times = [(seconds(plain), seconds(ours)) for _ in range(rounds)]
    slow, fast = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{name}: plain {1e3 * slow:.0f} ms, ours {1e3 * fast:.0f} ms, ratio {slow / fast:.1f}")
    return slow / fast


def metrics_seconds() -> float:
    """Everything a validation computes, over 40,000 images and 80 categories."""
    import numpy as np

    from dsrb_core.metrics import average_precision, threshold_metrics

    rng = np.random.default_rng(0)
    scores = rng.standard_normal((40_000, 80)).astype(np.float32)
    labels = np.where(rng.random(scores.shape) < 0.04, 1, -1).astype(np.int8)

    def all_metrics() -> None:
        average_precision(scores, labels)
        average_precision(scores, labels, interpolated=True)
        threshold_metrics(scores, labels)
        threshold_metrics(scores, labels, top=3)

    spent = seconds(all_metrics)
    print(f"metrics over 40,000 x 80: {spent:.2f} s")
    return spent


def resident() -> int:
    """Bytes of this process in memory now; its peak so far where the system does not tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return peak()


def peak() -> int:
    """Most bytes this process ever had in memory."""
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def step_memory(which: str, sizes: Sizes) -> int:
    """Bytes that one training step adds at its peak, in this process.

    The peak is the process's, so whatever was higher before the step counts against it, never for it.
    """
    import ctypes

    from benchmarks.method_cases import Case, Sizes

    def step(case: Case) -> None:
        (case.plain_step if which == "plain" else case.vector_step)()

    step(Case(Sizes(batch=2, categories=3, dim=8, rank=4)))  # threads and libraries are up after this
    case = Case(sizes)
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # memory freed, but not given back, would be used again unseen
    before = resident()
    step(case)
    return peak() - before


def memory_ratio(arguments: list[str]) -> float:
    """Peak memory of the plain step over ours, each in a process of its own."""
    # A child inherits its parent's peak, so this runs while the parent is still small.
    found = {}
    for which in ("plain", "vectors"):
        command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--memory", which]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[which] = int(done.stdout)
        print(f"peak memory of the {which} step: {found[which] / 2**20:.1f} MiB")
    return found["plain"] / max(1, found["vectors"])


def figures(sizes: Sizes, *, rounds: int) -> dict[str, float]:
    """Times and the largest difference, by name."""
    from benchmarks.method_cases import Case

    case = Case(sizes)
    return {
        "step_ratio": ratio(case.plain_step, case.vector_step, rounds=rounds, name="training step"),
        "infer_ratio": ratio(case.plain_infer, case.vector_infer, rounds=rounds, name="inference"),
        "max_diff": case.largest_difference(),
    }


def main() -> None:
    """Parse the options, measure, print the result line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = {"batch": 8, "categories": 80, "dim": 1024, "rank": 512}
    for name, value in names.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="3 rounds, not 9; ends within 45 s on two cores")
    parser.add_argument("--memory", choices=["plain", "vectors"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    chosen = [f"--{name}={getattr(options, name)}" for name in (*names, "threads")]
    memory = None if options.memory else memory_ratio(chosen)

    import torch

    from benchmarks.method_cases import Sizes

    torch.set_num_threads(options.threads)
    sizes = Sizes(**{name: getattr(options, name) for name in names})
    if memory is None:
        print(step_memory(options.memory, sizes))
        return
    found = figures(sizes, rounds=3 if options.quick else 9)
    result = {
        "step_ratio": round(found["step_ratio"], 2),
        "step_memory_ratio": round(memory, 2),
        "infer_ratio": round(found["infer_ratio"], 2),
        "max_diff": found["max_diff"],
        "metrics_s": round(metrics_seconds(), 3),
    }
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
