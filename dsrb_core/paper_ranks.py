"""The processes of a run: one alone, or those that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK)."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """This process among `world`, and its device. Alone, every method is the identity."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor`, replaced by its sum over the processes."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    def from_first(self, tensor: Tensor) -> Tensor:
        """`tensor`, replaced by that of the first process."""
        if self.world > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def all(self, flag: Tensor) -> bool:
        """Whether the 0-dimensional bool `flag` holds on every process."""
        if self.world == 1:
            return bool(flag)
        count = flag.to(dtype=torch.float32).clone()
        return float(self.sum(count)) == self.world

    def agree(self, number: int) -> bool:
        """Whether every process has the same `number`."""
        first = self.from_first(torch.tensor(number, device=self.device))
        return self.all(first == number)

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def join(device: str, environment: Mapping[str, str] | None = None) -> Iterator[Ranks]:
    """The processes of this run on `device`: auto, cpu or cuda; nccl on GPUs, gloo on CPUs.

    ValueError for another device, cuda without a GPU, or fewer GPUs than processes on this machine.
    """
    variables = os.environ if environment is None else environment
    world, rank = int(variables.get("WORLD_SIZE", "1")), int(variables.get("RANK", "0"))
    place = _device(device, int(variables.get("LOCAL_RANK", "0")))
    if world == 1:
        yield Ranks(place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
        dist.init_process_group("nccl", device_id=place)
    else:
        dist.init_process_group("gloo")
    yield Ranks(place, rank, world)
    # Not after an error: the others may be waiting in a collective, and this process is about to end.
    dist.destroy_process_group()


def _device(name: str, local: int) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, not {name!r}.")
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    if local >= gpus:
        raise ValueError(f"device cuda needs a GPU per process: process {local} of this machine has {gpus}.")
    return torch.device("cuda", local)
