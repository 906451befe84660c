"""Threads, and a report of what is in use."""

import ctypes
import operator
import sys
from typing import TypedDict

from ironstep import _native

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


class Config(TypedDict):
    """What `config` returns."""

    version: str
    instruction_set: str
    num_threads: int
    torch: str | None
    memory: str


def set_num_threads(n: int | None) -> None:
    """Set how many threads a call may use.

    Results do not depend on it. Small jobs stay on the calling thread whatever the number is.

    Parameters
    ----------
    n : int from 1 to 1024, or None
        ``None`` goes back to the default: the environment variable ``IRONSTEP_NUM_THREADS``, or
        else ``torch.get_num_threads()`` if torch is imported, and at most the available cores.

    Raises
    ------
    ValueError
        If the number is out of range.
    TypeError
        If it is no integer.

    Examples
    --------
    >>> import ironstep
    >>> ironstep.set_num_threads(1)
    >>> ironstep.get_num_threads()
    1
    >>> ironstep.set_num_threads(None)
    """
    if n is not None:
        n = operator.index(n)
        if not 1 <= n <= 1024:
            raise ValueError(f"n: got {n}; a number of threads from 1 to 1024, or None, expected")
    _native.set_num_threads(n)


def get_num_threads() -> int:
    """Return how many threads the next call may use."""
    return _native.get_num_threads()


def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees, for what it allocates next.

    glibc gives large blocks back to the system when they are freed, and the next ones come as fresh
    pages, each with a fault at its first use: a training that allocates its activations and gradients
    anew in each iteration spends a good part of its time on that. It concerns the whole process, torch and
    numpy as well, from now on; memory that was once in use stays with it until it ends.

    Returns
    -------
    bool
        Whether it was set. Only glibc's allocator has such a setting: elsewhere (macOS, Windows, musl)
        nothing happens.

    References
    ----------
    ``mallopt(3)``, ``M_TRIM_THRESHOLD`` and ``M_MMAP_MAX``.

    Examples
    --------
    >>> import ironstep
    >>> kept = ironstep.keep_freed_memory()
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # No block of its own for a large one, and no end at which the heap is cut.
    return mallopt is not None and bool(
        mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    )


def config() -> Config:
    """Return what is in use, as `show_config` prints it.

    Returns
    -------
    dict
        ``version`` of ironstep; ``instruction_set``: ``"scalar"``, ``"avx2"``, ``"avx512"`` or
        ``"neon"``; ``num_threads``; ``torch``: its version if it is imported, else None;
        ``memory``: how tensors are read, ``"dlpack"`` (torch's DLPack exchange API),
        ``"data_ptr"`` (older torch) or ``"numpy"`` (no torch).
    """
    torch = getattr(sys.modules.get("torch"), "__version__", None)
    return {
        "version": _native.__version__,
        "instruction_set": _native.instruction_set(),
        "num_threads": _native.get_num_threads(),
        "torch": None if torch is None else str(torch),
        "memory": _native.memory_path(),
    }


def show_config() -> None:
    """Print what is in use; please add it to a bug report.

    Examples
    --------
    >>> import ironstep
    >>> ironstep.show_config()  # doctest: +SKIP
    version: 0.1.0
    instruction_set: avx512
    num_threads: 2
    torch: 2.15.0+cu130
    memory: dlpack
    """
    for name, value in config().items():
        print(f"{name}: {value}")
