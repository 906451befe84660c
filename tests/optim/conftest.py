"""Every test starts from the same random state and leaves torch's global settings as they were."""

import pytest
import torch


@pytest.fixture(autouse=True)
def settled_torch():
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
