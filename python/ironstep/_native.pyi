from collections.abc import Sequence
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

__version__: Final[str]

# config.rs
def set_num_threads(n: int | None, /) -> None: ...
def get_num_threads() -> int: ...
def instruction_set() -> str: ...
def memory_path() -> str: ...

# metrics/confusion.rs
def count_pairs(
    y_true: Any, y_pred: Any, /
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None: ...
def weigh_pairs(
    y_true: Any, y_pred: Any, weights: npt.NDArray[np.float64], /
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None: ...
def count_equal(y_true: Any, y_pred: Any, /) -> int | None: ...

# metrics/factorize.rs
def number_labels(
    y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any], /
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uintp]] | None: ...

# optim.rs
def clip_coefficient(norm: float, max_norm: float) -> float: ...
def total_norm(norm: float, other: float) -> float: ...

# optim/arrays.rs
def update(
    rule: str,
    operands: Sequence[tuple[str, Sequence[Any]]],
    options: dict[str, Any],
    steps: Sequence[int],
    *,
    first: bool = False,
    max_norm: float | None = None,
) -> float | None: ...

# optim/stepper.rs
@final
class Stepper:
    def __new__(cls, rule: str) -> Stepper: ...
    def step(
        self,
        groups: list[dict[str, Any]],
        state: dict[Any, Any],
        *,
        fresh: Sequence[tuple[int, int]] | None = None,
        max_norm: float | None = None,
        norm_elsewhere: float | None = None,
        all_or_none: bool = False,
    ) -> tuple[int, float | None, list[tuple[int, int, str]], list[tuple[int, int]]]: ...
