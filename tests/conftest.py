"""What all tests share."""

import signal

import hypothesis

# A shell starts background jobs with Ctrl-C ignored, which the tests of Ctrl-C would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a shared machine may stall any one example. The blob replays a failure seen in CI.
hypothesis.settings.register_profile("ironstep", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ironstep")
