"""What comes from outside, as an array that shares its memory."""

import sys
from typing import Any

import numpy as np


def borrow(array: Any, name: str) -> Any:
    """Return `array` as a numpy array of the same memory; torch tensors pass as they are.

    Objects that can only be copied (lists, say) are a TypeError: what is written to a copy is lost.
    """
    torch = sys.modules.get("torch")
    if isinstance(array, np.ndarray) or (torch is not None and isinstance(array, torch.Tensor)):
        return array
    try:
        return np.asarray(memoryview(array))
    except TypeError:
        pass
    if hasattr(array, "__dlpack__"):
        return np.from_dlpack(array)
    got = type(array).__name__
    raise TypeError(f"{name}: got {got}; a numpy array or an object that shares its memory expected")
