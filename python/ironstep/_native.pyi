from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, final

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float64]

__version__: Final[str]

# config.rs
def set_num_threads(n: int | None, /) -> None: ...
def get_num_threads() -> int: ...
def instruction_set() -> str: ...
def memory_path() -> str: ...

# loss.rs
def cross_entropy(
    logits: Any,
    target: Any,
    *,
    other: npt.NDArray[np.int64] | None = None,
    share: float | _Floats | None = None,
    weight: _Floats | None = None,
    sample_weight: _Floats | None = None,
    ignore_index: int = -100,
    hit: float = 1.0,
    spread: float = 0.0,
    reduction: str = "mean",
    losses: Any = None,
    gradient: Any = None,
    scaled: bool = True,
) -> tuple[float, float]: ...

# metrics/confusion.rs
def count_pairs(
    y_true: Any, y_pred: Any, /
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None: ...
def weigh_pairs(
    y_true: Any, y_pred: Any, weights: npt.NDArray[np.float64], /
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None: ...
def count_equal(y_true: Any, y_pred: Any, /) -> int | None: ...

# metrics/exact_sum.rs
def exact_add(
    sums: npt.NDArray[np.int64], values: _Floats, cells: npt.NDArray[np.int64] | None = None, /
) -> None: ...
def exact_values(sums: npt.NDArray[np.int64], /) -> _Floats: ...

# metrics/factorize.rs
def number_labels(
    y_true: npt.NDArray[Any], y_pred: npt.NDArray[Any], /
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uintp]] | None: ...

# norm.rs
def batch_norm_forward(
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    residual: Any,
    output: Any,
    saved: Any,
    *,
    training: bool,
    momentum: float,
    eps: float,
    relu: bool,
) -> None: ...
def batch_norm_backward(
    grad_output: Any,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    output: Any,
    saved: Any,
    grad_input: Any,
    grad_residual: Any,
    grad_weight: Any,
    grad_bias: Any,
    *,
    training: bool,
    relu: bool,
) -> None: ...

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

# metrics/isotonic.rs
def isotonic_shares(
    positives: npt.NDArray[np.uint64], totals: npt.NDArray[np.uint64], /
) -> _Floats: ...

# metrics/ranking.rs
def two_classes(y_true: Any, /) -> list[Any] | None: ...
def roc_auc(
    y_true: Any, y_score: Any, positive: Any = None, *, half: str | None = None
) -> tuple[float, int, int] | None: ...
def roc_curve(
    y_true: Any,
    y_score: Any,
    positive: Any,
    *,
    drop_intermediate: bool,
    half: str | None = None,
) -> tuple[_Floats, _Floats, _Floats]: ...
def precision_recall_curve(
    y_true: Any,
    y_score: Any,
    positive: Any,
    *,
    drop_intermediate: bool,
    half: str | None = None,
) -> tuple[_Floats, _Floats, _Floats]: ...
def threshold_counts(
    y_true: Any, y_score: Any, positive: Any, *, half: str | None = None
) -> tuple[_Floats, _Floats, _Floats]: ...
def average_precision(
    y_true: Any, y_score: Any, positive: Any, *, half: str | None = None
) -> tuple[float, int]: ...
def delong(
    y_true: Any, y_score: Any, positive: Any, *, half: str | None = None
) -> tuple[float, float, int, int]: ...
def column_aucs(
    classes: Any, y_score: Any, n_columns: int, *, half: str | None = None
) -> list[tuple[float, int, int]]: ...
def rows_sum_to_one(y_score: Any, n_columns: int, *, half: str | None = None) -> bool: ...
def class_ranks(
    classes: Any, y_score: Any, n_classes: int, *, equal: str = "later", half: str | None = None
) -> npt.NDArray[np.uint32]: ...

# metrics/score_index.rs
def delong_covariance(indices: Sequence[ScoreIndex], /) -> _Floats | None: ...

@final
class ScoreIndex:
    def __new__(
        cls, y_true: Any, y_score: Any, positive: Any, *, half: str | None = None
    ) -> ScoreIndex: ...
    def totals(self) -> tuple[int, int]: ...
    def counts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], _Floats]: ...
    def order(self) -> npt.NDArray[np.int64]: ...
    def auc(self) -> float: ...
    def partial_auc(self, max_fpr: float) -> float: ...
    def average_precision(self) -> float: ...
    def delong_variance(self) -> float: ...
    def roc(self, drop_intermediate: bool) -> tuple[_Floats, _Floats, _Floats]: ...
    def precision_recall(self, drop_intermediate: bool) -> tuple[_Floats, _Floats, _Floats]: ...
    def sensitivity_at_specificity(self, specificity: float) -> tuple[float, float, float]: ...
    def specificity_at_sensitivity(self, sensitivity: float) -> tuple[float, float, float]: ...
    def youden(self) -> tuple[float, float, float]: ...
    def placements(self) -> _Floats: ...
    def influence(self) -> _Floats: ...
    def auc_of_counts(self, counts: Any) -> float: ...
    def weighted_counts(self, weights: Any) -> tuple[_Floats, _Floats, _Floats]: ...
    def weighted_roc(
        self, weights: Any, drop_intermediate: bool
    ) -> tuple[_Floats, _Floats, _Floats]: ...
    def weighted_precision_recall(
        self, weights: Any, drop_intermediate: bool
    ) -> tuple[_Floats, _Floats, _Floats]: ...
    def weighted_auc(self, weights: Any) -> float: ...
    def weighted_average_precision(self, weights: Any) -> float: ...
    def bootstrap(
        self,
        statistic: str,
        value: float,
        *,
        draws: str,
        seed: int,
        first: int,
        n_resamples: int,
    ) -> _Floats: ...
    def judge(
        self,
        rule: str,
        value: float,
        prevalence: float | None,
        groups: npt.NDArray[np.uint32] | None,
        n_groups: int,
        *,
        seed: int,
        first: int,
        n_resamples: int,
    ) -> _Floats: ...
    def resample_counts(self, draws: str, seed: int, resample: int) -> npt.NDArray[np.uint32]: ...

# metrics/stream.rs
@final
class Stream:
    def __new__(cls, gathered: int) -> Stream: ...
    def add(
        self, y_true: Any, y_score: Any, labels: tuple[Any, Any], *, half: str | None = None
    ) -> None: ...
    def merge(self, other: Stream) -> None: ...
    def auc(self) -> tuple[float, int, int]: ...
    def average_precision(self) -> float: ...
    def entries(
        self,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint16], npt.NDArray[np.uint16]]: ...
    def add_entries(
        self,
        y_score: npt.NDArray[Any],
        positives: npt.NDArray[np.uint16],
        negatives: npt.NDArray[np.uint16],
    ) -> None: ...

def count_halves(
    counts: npt.NDArray[np.int64],
    y_true: Any,
    y_score: npt.NDArray[np.uint16],
    labels: tuple[Any, Any],
    /,
) -> None: ...
def auc_of_halves(counts: npt.NDArray[np.int64], /) -> tuple[float, int, int]: ...
