"""`Evaluation`: one or more models judged by the same cases."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ironstep import _native, metrics
from ironstep.metrics._arguments import check_options

from . import _findings, _tables
from ._cases import Cases, Missing, fingerprint, make_cases, name_of
from ._criteria import AT_THRESHOLD, COMPARED, IN_SUBGROUPS, OF_ORDER, OF_PROBABILITIES, Criterion
from ._errors import InputError, plain, shown
from ._results import (
    Band,
    Curve,
    Finding,
    Mistake,
    Model,
    Paired,
    Row,
    Subgroup,
    Threshold,
    plain_data,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ironstep.metrics import Calibration, ChosenPoint, DecisionCurve

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Rule = tuple[str, float | None]
Progress = Callable[[str], object] | None

RULES = ("youden", "sensitivity", "specificity", "cost")
MOST_SUBGROUPS = 50
MOST_POINTS = 1000
"""Of a drawn curve: more than a printer shows."""
MOST_DISTINCT = 2000
"""Probabilities of a calibration curve; its band takes as many for each resample."""
N_MISTAKES = 10


class Evaluation:
    """Judge one or more models by the same cases of two classes, as a paper has to report it.

    Every number comes from `ironstep.metrics`; this class asks for all of them, says what a reader must
    know, and writes tables, pictures and a page.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes: numbers, bools or strings.
    scores : array-like of shape (n_samples,), or mapping or data frame of such columns
        Scores, larger for the positive class; one column for each model.
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs.
    by : array-like of shape (n_samples,), or mapping or data frame of such columns, optional
        Subgroups: site, sex, device.
    weights : array-like of shape (n_samples,), optional
        What each case weighs.
    weight_type : {"frequency", "sampling"}, optional
        What `weights` mean, as in `ironstep.metrics.confidence_interval`.
    ids : array-like of shape (n_samples,), optional
        How cases are called where single ones are listed; row numbers from 1 if left out.
    positive : int, float, bool or str, default=1
        The label of the positive class.
    threshold : float or str, optional
        A score from which on cases are called positive, or a rule: ``"youden"``,
        ``"sensitivity=0.95"``, ``"specificity=0.9"``, ``"cost=5"`` (a false negative costs as much as 5
        false positives). If left out, 0.5 where all scores are probabilities, else ``"youden"``.
    threshold_from : tuple (y_true, scores), optional
        Other cases, by which the rule chooses the threshold. Without them it is chosen by the cases
        that judge it: then `choose_and_judge` gives the rates without that optimism.
    prevalence : float in (0, 1), optional
        Share of positives for which predictive values are given as well.
    missing : {"error", "exclude", "positive", "negative"}, default="error"
        What to do with rows that lack a score: leave them out, or count the test as positive (the
        largest score of the model) or negative (its least). Rows that lack anything else are left out
        unless this is ``"error"``.
    confidence_level : float in (0, 1), default=0.95
    n_resamples : int, default=2000
        For what has no formula: the corrected rates of a chosen threshold, the band of the calibration
        curve. Fewer where there are very many cases; the results say how many.
    margin : float > 0, optional
        By how much a model may be worse than the first one and still be called non-inferior.
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
        groups: Any = None,
        by: Any = None,
        weights: Any = None,
        weight_type: str | None = None,
        ids: Any = None,
        positive: Any = 1,
        threshold: float | str | None = None,
        threshold_from: tuple[Any, Any] | None = None,
        prevalence: float | None = None,
        missing: Missing = "error",
        confidence_level: float = 0.95,
        n_resamples: int = 2000,
        margin: float | None = None,
        random_state: int = 0,
        progress: Progress = None,
        source: dict[str, Any] | None = None,
    ) -> None:
        try:
            check_options(confidence_level, "auto", n_resamples, random_state)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from None
        if (weights is None) != (weight_type is None) or weight_type not in (
            None,
            "frequency",
            "sampling",
        ):
            raise InputError(
                f"weight_type: got {weight_type!r}; with weights 'frequency' (the case stands for so "
                "many alike) or 'sampling' (for so many that were not sampled), without them None"
            )
        if prevalence is not None and not 0 < prevalence < 1:
            raise InputError(f"prevalence: got {prevalence!r}; a number between 0 and 1 expected")
        if margin is not None and not 0 < margin < 1:
            raise InputError(f"margin: got {margin!r}; a number between 0 and 1 expected")
        self._rule = parse_threshold(threshold)
        if threshold_from is not None and not isinstance(self._rule, tuple):
            raise InputError(
                "threshold_from: needs a rule as threshold: youden, sensitivity=0.95, …"
            )
        self.options: dict[str, Any] = {
            "positive": plain(name_of(positive)),
            "threshold": threshold,
            "threshold_from": threshold_from is not None,
            "prevalence": prevalence,
            "missing": missing,
            "weight_type": weight_type,
            "confidence_level": confidence_level,
            "n_resamples": n_resamples,
            "margin": margin,
            "random_state": random_state,
        }
        self.source = source
        self._level, self._seed, self._n_resamples = confidence_level, random_state, n_resamples
        self._progress = progress or (lambda _: None)
        common: dict[str, Any] = dict(positive=positive, missing=missing)
        self._cases = make_cases(
            y_true,
            scores,
            groups=groups,
            by=by,
            weights=weights,
            ids=ids,
            frequency=weight_type == "frequency",
            at_least=self._rule if isinstance(self._rule, float) else None,
            **common,
        )
        elsewhere = None
        if threshold_from is not None:
            elsewhere = make_cases(
                *threshold_from,
                groups=None,
                by=None,
                weights=None,
                ids=None,
                frequency=False,
                at_least=None,
                **common,
            )
            if list(elsewhere.scores) != list(self._cases.scores):
                raise InputError(
                    f"threshold_from: got the models {', '.join(map(shown, elsewhere.scores))}; those "
                    f"of scores, {', '.join(map(shown, self._cases.scores))}, expected"
                )
        self.flow = self._cases.flow
        with warnings.catch_warnings():
            # What they say of few groups stands in the notes of each estimate.
            warnings.simplefilter("ignore")
            self.models = tuple(
                self._model(name, score, None if elsewhere is None else elsewhere)
                for name, score in self._cases.scores.items()
            )
            self.comparisons, self.delong = self._compare()
            self.subgroups = tuple(self._subgroups())
        self.findings: tuple[Finding, ...] = tuple(_findings.findings(self))
        self.data_sha256 = fingerprint(self._cases)

    def __repr__(self) -> str:
        names = ", ".join(model.name for model in self.models)
        return f"<Evaluation of {names} by {self.flow.n_cases} cases>"

    # --- what is asked of ironstep.metrics ---

    def _weighting(self, cases: Cases) -> dict[str, Any]:
        if cases.weights is None:
            return {}
        return dict(sample_weight=cases.weights, weight_type="sampling")

    def _row(
        self, criterion: Criterion, cases: Cases, answers: Any, params: dict[str, Any] | None = None
    ) -> Row:
        title = criterion.title
        if params:
            title += f" at prevalence {params['prevalence']:g}"
        key = criterion.key + ("_at_prevalence" if params else "")
        try:
            estimate = metrics.confidence_interval(
                criterion.key,
                cases.truth,
                answers,
                metric_params=params,
                confidence_level=self._level,
                groups=cases.groups,
                n_resamples=self._n_resamples,
                random_state=self._seed,
                **self._weighting(cases),
            )
        except ValueError as error:
            return Row(key=key, title=title, estimate=None, reason=str(error))
        return Row(key=key, title=title, estimate=estimate)

    def _model(self, name: str, score: Floats, elsewhere: Cases | None) -> Model:
        cases = self._cases
        self._progress(f"{plain(name)}: criteria")
        is_probability = bool(score.min() >= 0 and score.max() <= 1)
        threshold = self._threshold(name, score, is_probability, elsewhere)
        called = score >= threshold.value
        prevalence = self.options["prevalence"]
        rows = [self._row(criterion, cases, called) for criterion in AT_THRESHOLD]
        if prevalence is not None:
            rows += [
                self._row(criterion, cases, called, {"prevalence": prevalence})
                for criterion in AT_THRESHOLD
                if criterion.key in ("ppv", "npv")
            ]
        rows += [self._row(criterion, cases, score) for criterion in OF_ORDER]
        if is_probability:
            rows += [self._row(criterion, cases, score) for criterion in OF_PROBABILITIES]
        notes: list[str] = []
        if not is_probability:
            notes.append(
                "scores outside 0 to 1 are no probabilities: no Brier score, log loss, calibration "
                "or decision curve"
            )
        index = metrics.ScoreIndex(cases.truth, score, pos_label=1)
        fpr, tpr, cuts = index.roc_curve()
        precision, recall, _ = index.precision_recall_curve(drop_intermediate=True)
        counts = metrics.BinaryCounts.from_labels(
            cases.truth, called, pos_label=1, sample_weight=cases.weights
        )
        if cases.weights is not None:
            notes.append("ROC and precision-recall curves are drawn without the weights")
        return Model(
            name=plain(name),
            threshold=threshold,
            tp=counts.tp,
            fp=counts.fp,
            fn=counts.fn,
            tn=counts.tn,
            n_distinct=len(index.thresholds),
            rows=tuple(rows),
            chosen=self._chosen(name, score, threshold, notes),
            calibration=self._calibration(name, score, notes) if is_probability else None,
            decision_curve=self._decision_curve(score, notes) if is_probability else None,
            roc=_thinned(fpr, tpr),
            roc_band=self._band(name, fpr, tpr, cuts, score),
            precision_recall=_thinned(recall, precision),
            mistakes=tuple(self._mistakes(score, called)),
            notes=tuple(notes),
        )

    def _threshold(
        self, name: str, score: Floats, is_probability: bool, elsewhere: Cases | None
    ) -> Threshold:
        rule = self._rule
        if isinstance(rule, float):
            return Threshold(value=rule, origin="given", rule=None)
        if rule is None:
            if is_probability:
                return Threshold(value=0.5, origin="default", rule=None)
            rule = ("youden", None)
        truth, by = self._cases.truth, score
        if elsewhere is not None:
            truth, by = elsewhere.truth, elsewhere.scores[name]
        try:
            point = metrics.choose_threshold(
                truth,
                by,
                rule[0],  # type: ignore[arg-type]
                rule[1],
                prevalence=self.options["prevalence"] if rule[0] == "cost" else None,
            )
        except ValueError as error:
            raise InputError(f"threshold: {error}") from None
        return Threshold(
            value=point.threshold,
            origin="chosen here" if elsewhere is None else "chosen elsewhere",
            rule=rule[0] if rule[1] is None else f"{rule[0]}={rule[1]:g}",
        )

    def _chosen(
        self, name: str, score: Floats, threshold: Threshold, notes: list[str]
    ) -> ChosenPoint | None:
        if threshold.origin != "chosen here":
            return None
        if self._cases.weights is not None:
            notes.append(
                "the threshold is chosen without the weights; no corrected rates with them"
            )
            return None
        self._progress(f"{plain(name)}: threshold, judged")
        rule, value = self._rule if isinstance(self._rule, tuple) else ("youden", None)
        return metrics.choose_and_judge(
            self._cases.truth,
            score,
            rule,  # type: ignore[arg-type]
            value,
            prevalence=self.options["prevalence"] if rule == "cost" else None,
            confidence_level=self._level,
            n_resamples=self._affordable(20_000_000),
            random_state=self._seed,
        )

    def _affordable(self, draws: int) -> int:
        """How many resamples of all cases; with very many cases their spread is small anyway."""
        return min(self._n_resamples, max(100, draws // len(self._cases.truth)))

    def _calibration(self, name: str, score: Floats, notes: list[str]) -> Calibration | None:
        cases = self._cases
        if cases.weights is not None:
            notes.append("no calibration with sampling weights")
            return None
        self._progress(f"{plain(name)}: calibration")
        common: dict[str, Any] = dict(
            pos_label=1,
            groups=cases.groups,
            confidence_level=self._level,
            random_state=self._seed,
        )
        n_resamples = self._affordable(20_000_000)
        if n_resamples < self._n_resamples:
            notes.append(f"the calibration curve's band is of {n_resamples} resamples")
        try:
            if len(score) <= MOST_DISTINCT or len(np.unique(score)) <= MOST_DISTINCT:
                return metrics.calibration(cases.truth, score, n_resamples=n_resamples, **common)
            found = metrics.calibration(cases.truth, score, n_resamples=1, **common)
            rounded = metrics.calibration(
                cases.truth, score.round(3).clip(1e-4, 1 - 1e-4), n_resamples=n_resamples, **common
            )
        except ValueError as error:
            notes.append(f"no calibration: {error}")
            return None
        notes.append(
            "the calibration curve, its band and the error to expect are those of probabilities "
            "rounded to three decimals"
        )
        of_rounded = (
            "probability",
            "recalibrated",
            "band_low",
            "band_high",
            "expected_calibration_error_if_calibrated",
            "n_resamples",
        )
        return replace(found, **{name: getattr(rounded, name) for name in of_rounded})

    def _decision_curve(self, score: Floats, notes: list[str]) -> DecisionCurve | None:
        cases = self._cases
        if cases.weights is not None:
            notes.append("no decision curve with sampling weights")
            return None
        return metrics.decision_curve(
            cases.truth,
            score,
            pos_label=1,
            groups=cases.groups,
            confidence_level=self._level,
        )

    def _band(
        self, name: str, fpr: Floats, tpr: Floats, cuts: Floats, score: Floats
    ) -> Band | None:
        cases = self._cases
        self._progress(f"{plain(name)}: ROC band")
        # Evenly along the curve; fewer where counting all cases takes long.
        n_cuts = 41 if len(score) <= 100_000 else 21
        at = np.unique(np.searchsorted(fpr + tpr, np.linspace(0, 2, n_cuts)).clip(max=len(fpr) - 1))
        found = []
        for cut in cuts[at]:
            called = score >= cut
            pair = [
                self._row(Criterion(key, key), cases, called).estimate
                for key in ("fpr", "sensitivity")
            ]
            if None in pair or any(np.isnan(each.low) for each in pair if each is not None):
                return None
            found.append((cut, *pair))
        return Band(
            thresholds=np.array([cut for cut, _, _ in found]),
            fpr_low=np.array([each.low for _, each, _ in found]),
            fpr_high=np.array([each.high for _, each, _ in found]),
            sensitivity_low=np.array([each.low for _, _, each in found]),
            sensitivity_high=np.array([each.high for _, _, each in found]),
            method=found[0][2].method,
        )

    def _mistakes(self, score: Floats, called: Flags) -> list[Mistake]:
        truth, ids = self._cases.truth, self._cases.ids
        found = []
        for is_positive in (False, True):
            wrong = np.flatnonzero((truth == is_positive) & (called != truth))
            order = np.argsort(score[wrong] if is_positive else -score[wrong], kind="stable")
            found += [
                Mistake(id=plain(ids[row]), is_positive=is_positive, score=float(score[row]))
                for row in wrong[order[:N_MISTAKES]]
            ]
        return found

    def _compare(self) -> tuple[tuple[Paired, ...], metrics.DelongTest | None]:
        cases = self._cases
        if len(self.models) < 2:
            return (), None
        self._progress("comparisons")
        columns = dict(
            zip((model.name for model in self.models), cases.scores.values(), strict=True)
        )
        margin = self.options["margin"]
        common: dict[str, Any] = dict(
            confidence_level=self._level,
            groups=cases.groups,
            n_resamples=self._n_resamples,
            random_state=self._seed,
            **self._weighting(cases),
        )
        found: list[dict[str, Any]] = []
        for criterion in COMPARED:
            for reference, model in itertools.combinations(self.models, 2):
                a: Any = columns[model.name]
                b: Any = columns[reference.name]
                if criterion.key != "auc":
                    a, b = a >= model.threshold.value, b >= reference.threshold.value
                of_pair: dict[str, Any] = dict(
                    key=criterion.key,
                    title=criterion.title,
                    model=model.name,
                    reference=reference.name,
                    comparison=None,
                    p_adjusted=None,
                    noninferiority=None,
                )
                try:
                    of_pair["comparison"] = metrics.compare(
                        criterion.key, cases.truth, a, b, **common
                    )
                    if margin is not None:
                        of_pair["noninferiority"] = metrics.compare(
                            criterion.key,
                            cases.truth,
                            a,
                            b,
                            alternative="noninferior",
                            margin=margin,
                            **common,
                        )
                except ValueError as error:
                    of_pair["reason"] = str(error)
                found.append(of_pair)
        tested = [
            each
            for each in found
            if each["comparison"] is not None and not np.isnan(each["comparison"].p_value)
        ]
        if tested:
            adjusted = metrics.holm([each["comparison"].p_value for each in tested])
            for each, p in zip(tested, adjusted.tolist(), strict=True):
                each["p_adjusted"] = p
        delong = None
        if len(self.models) > 2 and cases.weights is None:
            # Too few groups is an error, which the notes of each estimate say.
            with contextlib.suppress(ValueError):
                delong = metrics.delong_test(
                    cases.truth, list(columns.values()), pos_label=1, groups=cases.groups
                )
        return tuple(Paired(**each) for each in found), delong

    def _subgroups(self) -> list[Subgroup]:
        found = []
        for name, values in self._cases.by.items():
            shown_as = {value: plain(name_of(value)) for value in set(values.tolist())}
            texts = np.array([shown_as[value] for value in values.tolist()], dtype=object)
            distinct = sorted(set(shown_as.values()))
            if len(distinct) > MOST_SUBGROUPS:
                raise InputError(
                    f"by: {shown(name)} has {len(distinct)} different values; "
                    f"{MOST_SUBGROUPS} at most expected"
                )
            self._progress(f"subgroups: {plain(name)}")
            for value in distinct:
                cases = self._cases.part(texts == value)
                n_positive = int(cases.truth.sum())
                for model, score in zip(self.models, cases.scores.values(), strict=True):
                    called = score >= model.threshold.value
                    found.append(
                        Subgroup(
                            column=plain(name),
                            value=value,
                            model=model.name,
                            n_positive=n_positive,
                            n_negative=len(score) - n_positive,
                            rows=tuple(
                                self._row(
                                    criterion, cases, score if criterion.key == "auc" else called
                                )
                                for criterion in IN_SUBGROUPS
                            ),
                        )
                    )
        return found

    # --- what readers see ---

    def table(self, name: str = "criteria") -> _tables.Table:
        """Return a table: printed, or as ``.csv()``, ``.markdown()``, ``.latex()``.

        Parameters
        ----------
        name : {"criteria", "flow", "confusion", "comparisons", "subgroups", "mistakes", \
"calibration"}, default="criteria"
        """
        known = _tables.tables(self)
        if name not in known:
            raise ValueError(f"name: got {name!r}; one of {', '.join(known)} expected")
        return known[name]

    def as_json(self) -> dict[str, Any]:
        """Return everything as numbers, texts, lists and dicts: what `report` writes as report.json."""
        return {
            "format": "ironstep evaluation 1",
            "source": self.source,
            "data_sha256": self.data_sha256,
            "options": plain_data(self.options),
            "versions": versions(),
            "flow": plain_data(self.flow),
            "models": [plain_data(model) for model in self.models],
            "comparisons": plain_data(self.comparisons),
            "delong": plain_data(self.delong),
            "subgroups": plain_data(self.subgroups),
            "findings": plain_data(self.findings),
        }

    def plot_roc(self, ax: Axes | None = None) -> Axes:
        """Draw ROC curves with bands and operating points; the axes, new ones if None."""
        return self._draw("roc", ax)

    def plot_precision_recall(self, ax: Axes | None = None) -> Axes:
        """Draw precision over recall; the axes, new ones if None."""
        return self._draw("precision_recall", ax)

    def plot_confusion(self, ax: Axes | None = None, *, model: str | None = None) -> Axes:
        """Draw the 2×2 table of a model (the first if None): counts and rates of each row."""
        return self._draw("confusion", ax, model)

    def plot_calibration(self, ax: Axes | None = None, *, model: str | None = None) -> Axes:
        """Draw the reliability curve of a model (the first if None) and its band if calibrated."""
        return self._draw("calibration", ax, model)

    def plot_decision_curve(self, ax: Axes | None = None) -> Axes:
        """Draw net benefit over threshold probabilities, with treating all and none."""
        return self._draw("decision_curve", ax)

    def plot_subgroups(self, ax: Axes | None = None, *, criterion: str = "auc") -> Axes:
        """Draw a forest of subgroups: ``"auc"``, ``"sensitivity"`` or ``"specificity"``."""
        return self._draw("subgroups", ax, criterion)

    def _draw(self, what: str, ax: Axes | None, *options: Any) -> Axes:
        from . import _pictures

        axes: Axes = getattr(_pictures, what)(self, ax, *options)
        return axes

    def report(self, folder: str | Path) -> Path:
        """Write index.html, report.json, tables and pictures into a folder.

        The folder appears when all is written. One that has an earlier report is replaced; any other that
        is not empty is an InputError.

        Returns
        -------
        Path
            Of index.html.
        """
        from . import _report

        return _report.write(self, Path(folder), self._progress)

    def _repr_html_(self) -> str:
        return self.table().html()


def parse_threshold(threshold: float | str | None) -> float | Rule | None:
    """Return a number, or a rule with its value; a text may be either."""
    if threshold is None or isinstance(threshold, int | float | np.number):
        number = None if threshold is None else float(threshold)
        if number is not None and not np.isfinite(number):
            raise InputError(f"threshold: got {threshold!r}; a finite number or a rule expected")
        return number
    try:
        return parse_threshold(float(threshold))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
    rule, _, value = str(threshold).partition("=")
    if rule in RULES and (rule == "youden") == (not value):
        try:
            return rule, float(value) if value else None
        except ValueError:
            pass
    raise InputError(
        f"threshold: got {shown(threshold)}; a number, youden, sensitivity=0.95, specificity=0.9 or "
        "cost=5 expected"
    )


def versions() -> dict[str, str]:
    """Return versions of what the numbers come from."""
    found = {"ironstep": _native.__version__}
    for name in ("numpy", "scipy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _thinned(x: Any, y: Any) -> Curve:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) > MOST_POINTS:
        # Evenly along the curve, the ends kept.
        along = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
        at = np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS)).clip(max=len(x) - 1)
        at = np.unique(np.concatenate(([0], at, [len(x) - 1])))
        x, y = x[at], y[at]
    return Curve(x=x, y=y)
