"""Memory of outputs, kept for the next batch.

What the allocator gives back to the system comes again as pages that fault at their first use, and for
activations of some megabytes that takes as long as the kernel that writes them.
"""

import sys
import threading
from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 128 << 10
"""Bytes from which glibc's allocator gives memory back as soon as it can."""

MOST = 512 << 20
"""Bytes that are kept, of what is in use and what is not."""

_lock = threading.Lock()
# From the one that was asked for the longest time ago to the latest.
_kept: list["_Kept"] = []


@dataclass
class _Kept:
    size: int
    storage: torch.UntypedStorage
    unused: tuple[int, int] = (0, 0)
    """Its owners, where it is here alone."""


def empty_like(x: Tensor) -> Tensor:
    """`torch.empty_like` of a tensor in the memory of one that nobody has any more."""
    size = x.numel() * x.element_size()
    dense = x.is_contiguous() or x.is_contiguous(memory_format=_last(x))
    if not (SMALLEST <= size <= MOST and dense):
        return torch.empty_like(x)
    # Not waited for: a lock that was held as a process was forked is never released in the child.
    if not _lock.acquire(blocking=False):
        return torch.empty_like(x)
    try:
        storage = _take(size)
        return torch.empty(0, dtype=x.dtype, device="cpu").set_(storage, 0, x.shape, x.stride())
    finally:
        _lock.release()


def _last(x: Tensor) -> torch.memory_format:
    return torch.channels_last_3d if x.dim() == 5 else torch.channels_last


def _take(size: int) -> torch.UntypedStorage:
    for place in reversed(range(len(_kept))):
        if _kept[place].size == size and _owners(place) == _kept[place].unused:
            _kept.append(_kept.pop(place))
            latest = _kept[-1].storage
            # Another process may have it, or it has been given other memory.
            if not latest.is_shared() and latest.nbytes() == size:
                return latest
            del _kept[-1]
    while sum(kept.size for kept in _kept) > MOST - size:
        del _kept[0]
    storage = torch.UntypedStorage(size, device="cpu")  # type: ignore[no-untyped-call]
    _kept.append(_Kept(size, storage))
    del storage  # no owner of it
    _kept[-1].unused = _owners(-1)
    return _kept[-1].storage


def _owners(place: int) -> tuple[int, int]:
    """How many have a storage, in C++ and in Python."""
    storage = _kept[place].storage
    return torch._C._storage_Use_Count(storage._cdata), sys.getrefcount(storage)
