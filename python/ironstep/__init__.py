"""Rust-accelerated training and judging of classifiers on ordinary CPUs.

`ironstep.optim` has torch's optimizers with a native step (it needs torch), `ironstep.functional`
the same rules for numpy arrays. Importing this package imports numpy alone.
"""

from ironstep import _native
from ironstep._config import config, get_num_threads, set_num_threads, show_config

__version__: str = _native.__version__

__all__ = ["__version__", "config", "get_num_threads", "set_num_threads", "show_config"]
