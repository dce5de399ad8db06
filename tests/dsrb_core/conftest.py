"""One torch thread per test process: small tensors, and test processes run side by side."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
