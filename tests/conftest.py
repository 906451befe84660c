"""What all tests share."""

import shutil
import signal

import hypothesis
import pytest

# A shell starts background jobs with Ctrl-C ignored, which the tests of Ctrl-C would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a shared machine may stall any one example. The blob replays a failure seen in CI.
hypothesis.settings.register_profile("ironstep", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ironstep")


@pytest.fixture
def threads_as_before():
    """For tests that change how many threads torch and ironstep have."""
    import torch

    import ironstep

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    ironstep.set_num_threads(None)


@pytest.fixture(scope="module")
def browser():
    """A real browser without a window: Debian's Chromium, driven by playwright."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not here: make test-browser installs it"
    )
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("chromium is not here: make test-browser installs it (Debian, as root)")
    # For a module, not for all: while it is open an event loop runs, which other tests would meet.
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=chromium)
        yield found
        found.close()
