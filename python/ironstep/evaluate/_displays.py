"""scikit-learn's display verbs, with intervals and bands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self
from weakref import WeakKeyDictionary

from ._columns import is_table
from ._evaluation import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_models_on: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""How many models axes have already: the next one has another colour, line and marker."""


class Display:
    """A picture of an `Evaluation`, made by the verbs of scikit-learn's displays.

    Attributes
    ----------
    evaluation : Evaluation
        With the numbers: ``display.evaluation.models[0].estimate("auc")``.
    ax_ : matplotlib axes
    figure_ : matplotlib figure
    """

    _picture: ClassVar[str]
    ax_: Axes
    figure_: Figure

    def __init__(self, evaluation: Evaluation) -> None:
        self.evaluation = evaluation

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_score: Any,
        *,
        pos_label: Any = 1,
        name: str | None = None,
        ax: Axes | None = None,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 200,
        random_state: int = 0,
        **options: Any,
    ) -> Self:
        """Evaluate scores and draw them.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Labels of two classes.
        y_score : array-like of shape (n_samples,), or mapping or data frame of such columns
            Scores, larger for the positive class; of several models by their names.
        pos_label : int, float, bool or str, default=1
        name : str, optional
            Of the model, in the legend.
        ax : matplotlib axes, optional
            What to draw on, beside what is there; new ones if None.
        groups : array-like of shape (n_samples,), optional
            To which patient each case belongs.
        confidence_level, n_resamples, random_state, **options
            As in `Evaluation`.

        Returns
        -------
        display

        Examples
        --------
        >>> import matplotlib
        >>> matplotlib.use("agg")
        >>> from ironstep.evaluate import RocCurveDisplay
        >>> y_true, y_score = [0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.2, 0.7]
        >>> display = RocCurveDisplay.from_predictions(y_true, y_score, name="net")
        >>> display.ax_.get_legend().get_texts()[0].get_text()
        'net: AUC 0.889 (0.261 to 0.995)'
        """
        several = is_table(y_score) or isinstance(y_score, dict)
        if several and name is not None:
            raise ValueError(f"name: got {name!r} with several models, which have their own")
        scores = y_score if several else {name or "model": y_score}
        evaluation = Evaluation(
            y_true,
            scores,
            positive=pos_label,
            groups=groups,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            random_state=random_state,
            **options,
        )
        return cls(evaluation).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,  # noqa: N803 - scikit-learn's name
        y: Any,
        *,
        pos_label: Any = 1,
        name: str | None = None,
        **options: Any,
    ) -> Self:
        """Ask a fitted classifier for the probabilities of `pos_label`, or its decision values, and draw.

        The remaining arguments are those of `from_predictions`.
        """
        classes = list(estimator.classes_)
        if len(classes) != 2 or pos_label not in classes:
            raise ValueError(
                f"pos_label: got {pos_label!r}; one of two classes, {classes}, expected"
            )
        at = classes.index(pos_label)
        if hasattr(estimator, "predict_proba"):
            score = estimator.predict_proba(X)[:, at]
        else:
            score = estimator.decision_function(X) * (1 if at == 1 else -1)
        name = type(estimator).__name__ if name is None else name
        return cls.from_predictions(y, score, pos_label=pos_label, name=name, **options)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw again, on these axes or on new ones."""
        from . import _pictures

        first = 0 if ax is None else _models_on.get(ax, 0)
        results = self.evaluation.results
        self.ax_ = getattr(_pictures, self._picture)(results, ax, first=first)
        self.figure_ = self.ax_.figure  # type: ignore[assignment]
        _models_on[self.ax_] = first + len(results.models)
        return self


class RocCurveDisplay(Display):
    """ROC curves with bands, operating points and AUC with its interval."""

    _picture = "roc"


class PrecisionRecallDisplay(Display):
    """Precision over recall with average precision and its interval."""

    _picture = "precision_recall"


class DetCurveDisplay(Display):
    """Both error rates on normal deviate scales."""

    _picture = "det"


class CalibrationDisplay(Display):
    """The reliability curve by isotonic regression, its band, intercept and slope."""

    _picture = "calibration"
