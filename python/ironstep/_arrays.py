"""What comes from outside, as an array that shares its memory."""

import sys
from typing import Any

import numpy as np


def borrow(array: Any, name: str) -> Any:
    """Return `array` as a numpy array of the same memory; torch tensors pass as they are.

    Objects that can only be copied (lists, say) are a TypeError: what is written to a copy is lost.
    So are masked arrays, whose masked elements nobody wants to be updated.
    """
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array; a plain numpy array expected")
    if isinstance(array, np.ndarray) or (isinstance(tensor, type) and isinstance(array, tensor)):
        return array
    try:
        return np.asarray(memoryview(array))
    except (TypeError, BufferError):
        pass
    if hasattr(array, "__dlpack__"):
        try:
            # Only the memory itself: older numpy cannot ask for that, and gets it.
            return np.from_dlpack(array, **_NO_COPY)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise TypeError(f"{name}: got {type(array).__name__}: {error}") from error
    got = type(array).__name__
    raise TypeError(
        f"{name}: got {got}; a numpy array or an object that shares its memory expected"
    )


_NUMPY = tuple(int(part) for part in np.__version__.split(".")[:2])
_NO_COPY: dict[str, Any] = {"copy": False} if _NUMPY >= (2, 1) else {}
