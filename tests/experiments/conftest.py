"""What the tests of experiments share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """As `ironstep experiment` runs them: sums of torch's are other bits with other threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tick(what):
    """Stand in for the progress bar."""


@pytest.fixture(scope="session")
def quick_of():
    """Measure some seeds of an experiment in its quick version, once for all tests that ask."""
    done = {}

    def measured(experiment, seed=0):
        key = (experiment.title, seed)
        if key not in done:
            done[key] = experiment.measure(seed, True, tick)
        return done[key]

    return measured
