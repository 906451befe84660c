"""`Evaluation`: one or more models judged by the same cases."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ironstep import _native
from ironstep._input_error import InputError

from . import _findings, _tables
from ._aggregation import aggregated
from ._cases import Cases, fingerprint, make_cases
from ._columns import quoted
from ._comparing import compare_all, same_auc, subgroups
from ._judging import Progress, answered, judge
from ._options import Aggregate, Missing, Options
from ._overall import called_by, judge_overall
from ._results import Model, Overall, Paired, Results, Subgroup, Tested, plain_data
from ._table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ironstep.metrics import DelongTest

    from ._cases import Flow
    from ._findings import Finding


class Evaluation:
    """Judge one or more models by the same cases, as a paper has to report it.

    Two classes, several classes (one column of scores for each), or several findings at once (one column of
    labels and one of scores for each). Every number comes from `ironstep.metrics`; this class asks for all of
    them, says what a reader must know, and writes tables, pictures and a page.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,), or (n_samples, n_findings)
        Labels: numbers, bools or strings. Of findings a mapping or data frame of columns, or an array.
    scores : array-like, or mapping or data frame
        Scores, larger for the positive class: one column alone, or one for each model by its name. Of
        several classes or findings an array of shape (n_samples, n_targets), or for each model such an array,
        or a mapping or data frame whose columns are called as the classes or findings.
    classes : sequence, optional
        Labels of the classes in the order of the scores' columns; sorted if left out.
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs.
    by : array-like of shape (n_samples,), or mapping or data frame of such columns, optional
        Subgroups: site, sex, device.
    readers : array-like of shape (n_samples,), or mapping or data frame of such columns, optional
        What human readers call the cases, of two classes: labels as those of `y_true`.
    weights : array-like of shape (n_samples,), optional
        What each case weighs.
    weight_type : {"frequency", "sampling"}, optional
        What `weights` mean, as in `ironstep.metrics.confidence_interval`.
    ids : array-like of shape (n_samples,), optional
        How cases are called where single ones are listed; row numbers from 1 if left out.
    positive : int, float, bool or str, default=1
        The label of the positive class, or of a case that has a finding.
    threshold : float or str, optional
        A score from which on cases are called positive, or a rule: ``"youden"``,
        ``"sensitivity=0.95"``, ``"specificity=0.9"``, ``"cost=5"`` (a false negative costs as much as 5
        false positives). If left out, 0.5 where all scores are probabilities, else ``"youden"``. Of several
        classes the one with the highest score is called, and there is no threshold.
    threshold_from : tuple (y_true, scores), optional
        Other cases, by which the rule chooses the threshold. Without them it is chosen by the cases
        that judge it: then `choose_and_judge` gives the rates without that optimism.
    prevalence : float in (0, 1), optional
        Share of positives for which predictive values are given as well, of two classes.
    missing : {"error", "exclude", "positive", "negative"}, default="error"
        What to do with rows that lack a score or a reading: leave them out, or count the test as positive
        (the largest score of the model) or negative (its least). Rows that lack anything else are left out
        unless this is ``"error"``.
    aggregate : {"max", "mean"}, optional
        Judge groups, not cases: by the greatest or the mean score of each. A group is positive where one
        of its cases is, and called so by a reader where one of its cases is; of several classes all its
        cases must have the same label.
    confidence_level : float in (0, 1), default=0.95
    n_resamples : int, default=2000
        For what has no formula: the corrected rates of a chosen threshold, the band of the calibration
        curve. Of the former fewer where there are millions of cases; the results say how many.
    margin : float in (0, 1), optional
        By how much a model may be worse than an earlier one, or a reader, and still be called non-inferior.
    random_state : int, default=0
    progress : callable, optional
        Called with the name of each part as it begins.
    source : dict, optional
        Where the cases come from, for the report: ``"name"`` and ``"sha256"`` of a file.

    Attributes
    ----------
    flow : Flow
        Cases that came in and that are judged.
    models : tuple of Model
        Of several classes or findings each model for each of them: a class against the rest.
    readers : tuple of Tested
    overall : tuple of Overall
        Each model over all classes or findings.
    comparisons : tuple of Paired
    subgroups : tuple of Subgroup
    delong : DelongTest or None
        Whether three or more models have the same AUC.
    findings : tuple of Finding
        One sentence each: results, and what to be careful about.

    Raises
    ------
    InputError
        A ValueError of one line: what is wrong with the columns or an option.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.evaluate import Evaluation
    >>> random = np.random.default_rng(0)
    >>> y_true = np.repeat([0, 1], 100)
    >>> evaluation = Evaluation(y_true, {"net": y_true + random.normal(size=200)}, threshold=0.5)
    >>> print(evaluation.models[0].estimate("auc"))
    0.740 [0.666, 0.803] (95%, delong-logit)
    """

    def __init__(
        self,
        y_true: Any,
        scores: Any,
        *,
        classes: Sequence[Any] | None = None,
        groups: Any = None,
        by: Any = None,
        readers: Any = None,
        weights: Any = None,
        weight_type: str | None = None,
        ids: Any = None,
        positive: Any = 1,
        threshold: float | str | None = None,
        threshold_from: tuple[Any, Any] | None = None,
        prevalence: float | None = None,
        missing: Missing = "error",
        aggregate: Aggregate | None = None,
        confidence_level: float = 0.95,
        n_resamples: int = 2000,
        margin: float | None = None,
        random_state: int = 0,
        progress: Callable[[str], object] | None = None,
        source: dict[str, Any] | None = None,
    ) -> None:
        options = Options(
            positive=positive,
            threshold=threshold,
            threshold_from=threshold_from is not None,
            prevalence=prevalence,
            missing=missing,
            aggregate=aggregate,
            weight_type=weight_type,
            confidence_level=confidence_level,
            n_resamples=n_resamples,
            margin=margin,
            random_state=random_state,
        )
        if (weights is None) != (weight_type is None):
            raise InputError(
                f"weight_type: got {weight_type!r}; frequency or sampling expected with weights, and "
                "neither without"
            )
        self._progress: Progress = progress or (lambda _: None)
        common: dict[str, Any] = dict(
            classes=classes,
            positive=positive,
            missing=missing,
            at_least=options.rule if isinstance(options.rule, float) else None,
        )
        cases = make_cases(
            y_true,
            scores,
            readings=readers,
            groups=groups,
            by=by,
            weights=weights,
            ids=ids,
            frequency=weight_type == "frequency",
            **common,
        )
        elsewhere = None
        if threshold_from is not None:
            elsewhere = make_cases(*threshold_from, **common)
            for what in ("kind", "targets", "scores"):
                here, there = (getattr(each, what) for each in (cases, elsewhere))
                if list(here) != list(there):
                    raise InputError(
                        f"threshold_from: got {quoted(list(there))}; {quoted(list(here))} expected, as here"
                    )
        ids_repeat = groups is None and weight_type != "frequency" and _repeat(cases)
        if aggregate is not None:
            cases = aggregated(cases, aggregate)
        _check_fits(cases, options)
        with warnings.catch_warnings():
            # What they say of few groups stands in the notes of each estimate.
            warnings.simplefilter("ignore")
            self.results = _judged(cases, elsewhere, options, ids_repeat, source, self._progress)
        self.findings: tuple[Finding, ...] = tuple(_findings.findings(self.results))

    def __repr__(self) -> str:
        names = ", ".join(each.name for each in self.results.whole)
        return f"<Evaluation of {names} by {self.flow.n_cases} cases>"

    @property
    def flow(self) -> Flow:
        return self.results.flow

    @property
    def models(self) -> tuple[Model, ...]:
        return self.results.models

    @property
    def readers(self) -> tuple[Tested, ...]:
        return self.results.readers

    @property
    def overall(self) -> tuple[Overall, ...]:
        return self.results.overall

    @property
    def comparisons(self) -> tuple[Paired, ...]:
        return self.results.comparisons

    @property
    def delong(self) -> DelongTest | None:
        return self.results.delong

    @property
    def subgroups(self) -> tuple[Subgroup, ...]:
        return self.results.subgroups

    def table(self, name: str = "criteria") -> Table:
        """Return a table: printed, or as ``.csv()``, ``.markdown()``, ``.latex()``.

        Parameters
        ----------
        name : {"criteria", "flow", "confusion", "targets", "corrected", "comparisons", "subgroups", \
"mistakes", "calibration"}, default="criteria"
            ``"targets"``: criteria of each class or finding.
        """
        known = _tables.tables(self.results)
        if name not in known:
            raise ValueError(f"name: got {name!r}; one of {', '.join(known)} expected")
        return known[name]

    def as_json(self) -> dict[str, Any]:
        """Return everything as numbers, texts, lists and dicts: what `report` writes as report.json."""
        return {
            "format": "ironstep evaluation 2",
            "versions": versions(),
            **plain_data(self.results),
            "findings": plain_data(self.findings),
        }

    def plot_roc(self, ax: Axes | None = None, *, target: str | None = None) -> Axes:
        """Draw ROC curves with bands and operating points; the axes, new ones if None.

        `target`: which class or finding, where there are several; the first if None. So in the others.
        """
        return self._draw("roc", ax, target)

    def plot_precision_recall(self, ax: Axes | None = None, *, target: str | None = None) -> Axes:
        """Draw precision over recall; the axes, new ones if None."""
        return self._draw("precision_recall", ax, target)

    def plot_det(self, ax: Axes | None = None, *, target: str | None = None) -> Axes:
        """Draw both error rates on normal deviate scales; the axes, new ones if None."""
        return self._draw("det", ax, target)

    def plot_scores(
        self, ax: Axes | None = None, *, model: str | None = None, target: str | None = None
    ) -> Axes:
        """Draw how the scores of a model (the first if None) are distributed in each class."""
        return self._draw("scores", ax, model, target)

    def plot_confusion(
        self, ax: Axes | None = None, *, model: str | None = None, target: str | None = None
    ) -> Axes:
        """Draw the confusion matrix of a model (the first if None): counts, and rates of each row."""
        return self._draw("confusion", ax, model, target)

    def plot_calibration(
        self, ax: Axes | None = None, *, model: str | None = None, target: str | None = None
    ) -> Axes:
        """Draw the reliability curve of a model (the first if None) and its band if calibrated."""
        return self._draw("calibration", ax, model, target)

    def plot_decision_curve(self, ax: Axes | None = None, *, target: str | None = None) -> Axes:
        """Draw net benefit over threshold probabilities, with treating all and none."""
        return self._draw("decision_curve", ax, target)

    def plot_subgroups(self, ax: Axes | None = None, *, criterion: str | None = None) -> Axes:
        """Draw a forest of subgroups: the first criterion of their table if None, or another."""
        return self._draw("subgroups", ax, criterion)

    def _draw(self, what: str, ax: Axes | None, *options: Any) -> Axes:
        from . import _pictures

        axes: Axes = getattr(_pictures, what)(self.results, ax, *options)
        return axes

    def report(self, folder: str | Path, *, also: Sequence[str] = ()) -> Path:
        """Write index.html, report.json, tables and pictures into a folder.

        The folder appears when all is written. One that has an earlier report is replaced; any other that
        is not empty is an InputError.

        Parameters
        ----------
        folder : path
        also : sequence of {"det", "scores"}
            More pictures: detection error tradeoff, histograms of the scores.

        Returns
        -------
        Path
            Of index.html.
        """
        from . import _report

        return _report.write(
            Path(folder), self.results, self.findings, self.as_json(), also, self._progress
        )

    def _repr_html_(self) -> str:
        return self.table().html()


def _check_fits(cases: Cases, options: Options) -> None:
    if cases.kind == "binary":
        return
    if options.prevalence is not None:
        raise InputError("prevalence: of two classes alone")
    if cases.kind == "multiclass" and options.threshold is not None:
        raise InputError(
            "threshold: of several classes the one with the highest score is called; none expected"
        )


def _judged(
    cases: Cases,
    elsewhere: Cases | None,
    options: Options,
    ids_repeat: bool,
    source: dict[str, Any] | None,
    progress: Progress,
) -> Results:
    questions = list(cases.questions())
    others = [None] * len(questions) if elsewhere is None else [q for _, q in elsewhere.questions()]
    models = [
        judge(part, name, target, options, other, progress)
        for (target, part), other in zip(questions, others, strict=True)
        for name in cases.scores
    ]
    n_models = len(cases.scores)
    called = called_by(
        cases,
        {
            name: [model.threshold.value for model in models[at::n_models]]
            for at, name in enumerate(cases.scores)
        },
    )
    overall: tuple[Overall, ...] = ()
    if cases.kind != "binary":
        overall = tuple(
            judge_overall(cases, name, called[name], options, progress) for name in cases.scores
        )
    readers = tuple(
        answered(cases, name, None, reading, options) for name, reading in cases.readings.items()
    )
    progress("comparisons")
    return Results(
        kind=cases.kind,
        targets=cases.targets,
        options=options.as_dict(),
        source=source,
        data_sha256=fingerprint(cases),
        ids_repeat=ids_repeat,
        flow=cases.flow,
        models=tuple(models),
        readers=readers,
        overall=overall,
        comparisons=compare_all(cases, called, options),
        delong=same_auc(cases),
        subgroups=tuple(subgroups(cases, called, options, progress)),
    )


def _repeat(cases: Cases) -> bool:
    """Whether ids, other than row numbers, come more than once."""
    if cases.ids.dtype.kind in "iu":
        return False
    return len(set(map(str, cases.ids.tolist()))) < len(cases)


def versions() -> dict[str, str]:
    """Return versions of what the numbers come from."""
    found = {"ironstep": _native.__version__}
    for name in ("numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
