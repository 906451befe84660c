"""Nothing is fetched while these tests run."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
