"""What all tests share."""

import hypothesis

# No deadline: a shared machine may stall any one example. The blob replays a failure seen in CI.
hypothesis.settings.register_profile("ironstep", deadline=None, print_blob=True)
hypothesis.settings.load_profile("ironstep")
