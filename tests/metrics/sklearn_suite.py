"""A pytest plugin that runs scikit-learn's own tests of its metrics with ours in their place.

    python -m pytest -c /dev/null -p metrics.sklearn_suite    (with tests/ on the path)

Every function that `ironstep.metrics` and `sklearn.metrics` both have is replaced before the test
modules import it. A test counts if it called one of ours. `KNOWN` are the tests that fail, each with
its reason; one that passes, or is not there, is a failure of the run.
"""

import functools
import inspect
import re

import pytest
import sklearn.metrics

import ironstep.metrics

MODULES = (
    "sklearn.metrics.tests.test_classification",
    "sklearn.metrics.tests.test_common",
    "sklearn.metrics.tests.test_ranking",
)

# A pattern of the test's name, and why ours differs.
KNOWN: dict[str, str] = {
    "test_confusion_matrix_at_thresholds_positional_args_deprecation": (
        "pos_label by position: scikit-learn warns and drops it in 1.11; ours takes it by name alone"
    ),
}

LEAST_SHARE = 0.99


class Suite:
    def __init__(self):
        self.called = False
        self.outcomes = {}
        for name in ironstep.metrics.__all__:
            ours = getattr(ironstep.metrics, name)
            theirs = getattr(sklearn.metrics, name, None)
            if inspect.isfunction(ours) and theirs is not None:
                setattr(sklearn.metrics, name, self.counted(ours))

    def counted(self, function):
        @functools.wraps(function)
        def counting(*args, **kwargs):
            self.called = True
            return function(*args, **kwargs)

        return counting

    def pytest_collection_modifyitems(self, config, items):
        self.stale = [
            pattern for pattern in KNOWN if not any(re.fullmatch(pattern, i.name) for i in items)
        ]
        for item in items:
            for pattern, reason in KNOWN.items():
                if re.fullmatch(pattern, item.name):
                    item.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.called = False
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if report.when == "call" or report.outcome == "failed":
            outcome = "known" if hasattr(report, "wasxfail") else report.outcome
            if self.called:
                self.outcomes[item.module.__name__, item.name] = outcome
        return report

    @property
    def counts(self):
        outcomes = list(self.outcomes.values())
        return {name: outcomes.count(name) for name in ("passed", "known", "failed")}

    def pytest_sessionfinish(self, session):
        counts = self.counts
        total = sum(counts.values())
        narrowed = session.config.option.keyword or session.config.option.maxfail
        enough = counts["passed"] >= LEAST_SHARE * total
        if session.exitstatus == 0 and not narrowed and (self.stale or not enough):
            session.exitstatus = 1

    def pytest_terminal_summary(self, terminalreporter):
        counts = self.counts
        total = sum(counts.values())
        terminalreporter.section("scikit-learn's tests that called ironstep")
        share = counts["passed"] / total if total else 0
        terminalreporter.line(
            f"{total} tests: {counts['passed']} passed ({share:.2%}), {counts['known']} known "
            f"differences, {counts['failed']} failed"
        )
        for pattern in self.stale:
            terminalreporter.line(f"no such test any more: {pattern}")


def pytest_configure(config):
    config.pluginmanager.register(Suite())
    config.args = [*MODULES]
    config.option.pyargs = True
