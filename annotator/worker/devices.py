"""Which device the worker computes on, and what to tell when it is not the one that was asked for."""

from __future__ import annotations

import logging

import torch

log = logging.getLogger(__name__)


def usable_device(wanted: str) -> tuple[str, str]:
    """A device for the setting `wanted`, and a sentence when a GPU was asked for that is not there.

    Names that are no GPU pass as they are; whether they mean something is for torch to say.
    """
    kind, _, number = wanted.partition(":")
    if kind != "cuda":
        return wanted, ""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count and (not number or (number.isdigit() and int(number) < count)):
        return wanted, ""
    there = "no GPU" if not count else f"{count} GPU{'s' if count > 1 else ''}"
    notice = f"It runs on the CPU: the device {wanted} was asked for, but torch sees {there} on this machine."
    log.warning(notice)
    return "cpu", notice


def gpu_failed(error: BaseException) -> bool:
    """True for an error by which a GPU leaves a process for good: lost, reset or driver mismatch."""
    said = str(error)
    return isinstance(error, RuntimeError) and ("CUDA error" in said or "CUDA driver" in said)
