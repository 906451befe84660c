"""Every test starts from the same random state and leaves torch's global settings as they were."""

import pytest
import torch

from nn.batchnorm_cases import Calls


@pytest.fixture(autouse=True)
def settled_torch():
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)


@pytest.fixture
def calls(monkeypatch):
    """Counts the calls of the native functions."""
    return Calls(monkeypatch)
