"""What the tests of experiments share."""

import pytest


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
