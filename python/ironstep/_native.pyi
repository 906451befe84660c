from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, final

__version__: Final[str]

# config.rs
def set_num_threads(n: int | None, /) -> None: ...
def get_num_threads() -> int: ...
def instruction_set() -> str: ...
def memory_path() -> str: ...

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
        groups: Iterable[Mapping[str, Any]],
        state: Mapping[Any, Any],
        *,
        fresh: Sequence[tuple[int, int]] | None = None,
        max_norm: float | None = None,
        norm_elsewhere: float | None = None,
        all_or_none: bool = False,
    ) -> tuple[int, float | None, list[tuple[int, int, str]], list[tuple[int, int]]]: ...
