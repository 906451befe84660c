"""The command line: `ironstep`, or `python -m ironstep`.

Exit codes: 0 done; 1 ironstep and torch differ by more than rounding explains, or `evaluate` finds what
`--fail-on` names; 2 wrong use or wrong input, or something is not installed; 130 stopped by
Ctrl-C.
"""

import contextlib
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

from ironstep.experiments import NAMES as EXPERIMENTS

if TYPE_CHECKING:
    import typer

WRONG_USE = 2
INTERRUPTED = 130

# What each measures, and what it needs.
BENCHMARKS = {
    "batchnorm": ("batch normalization and whole iterations against torch's", "torch"),
    "loss": ("the losses against torch's", "torch"),
    "metrics": ("the metrics against scikit-learn's", "sklearn", "scipy"),
    "optim": ("the optimizers against torch's", "torch"),
    "training": (
        "whole trainings against the same loop in plain torch",
        "torch",
        "sklearn",
        "matplotlib",
    ),
}

# What an import is called where it is installed from, if that is another name.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def main() -> None:
    """Run the command line and exit."""
    # Not at the top: typer is optional, and importing this module must not fail without it.
    extra = next((each for each in ("evaluate", "train") if sys.argv[1:2] == [each]), "demo")
    _require("command line", extra, "typer", "rich")
    _app()()


def _app() -> "typer.Typer":
    import typer

    app = typer.Typer(
        name="ironstep",
        help="Optimizers, layers and losses with native CPU kernels; metrics with intervals.",
        pretty_exceptions_enable=False,  # a plain traceback is what people paste into a report
        no_args_is_help=True,
    )
    bench = typer.Typer(help="Measure ironstep against its peers.", no_args_is_help=True)
    app.add_typer(bench, name="bench")

    def finish(work: Callable[[], int]) -> NoReturn:
        try:
            code = work()
        except KeyboardInterrupt:
            code = INTERRUPTED  # older typers make it 1, which says that the numbers differ
        raise typer.Exit(code)

    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("ironstep-demo"),
        seed: Annotated[
            int,
            typer.Option(min=0, max=2**63 - 1, help="Starts the networks, orders the batches."),
        ] = 0,
        quick: Annotated[
            bool, typer.Option("--quick", help="A few epochs: shows that all runs, times nothing.")
        ] = False,
        threads: Annotated[
            int | None, typer.Option(min=1, help="For both; torch's own choice if left out.")
        ] = None,
    ) -> None:
        """Train a classifier and report on it; then compare torch's trainings with ironstep's."""

        def work() -> int:
            _require("demo", "demo", "torch", "sklearn", "matplotlib")
            from ironstep.demo import run

            return run(out, seed=seed, quick=quick, threads=threads)

        finish(work)

    @app.command()
    def evaluate(
        file: Annotated[Path, typer.Argument(help="Predictions: .csv, .tsv, .parquet or .arrow.")],
        label: Annotated[
            list[str],
            typer.Option(
                help="Column with the true labels. Several findings at once: their columns, repeated or "
                "with a star: 'y_*'."
            ),
        ],
        score: Annotated[
            list[str],
            typer.Option(
                help="Column with a model's scores; may be repeated. name=column names the model; "
                "'name=p_*' has one column for each class or finding."
            ),
        ],
        classes: Annotated[
            str | None,
            typer.Option(help="Labels of the classes, a,b,c: those of columns listed in --score."),
        ] = None,
        reader: Annotated[
            list[str] | None,
            typer.Option(help="Column with a human reader's labels; may be repeated."),
        ] = None,
        positive: Annotated[str, typer.Option(help="The label of the positive class.")] = "1",
        group: Annotated[
            str | None, typer.Option(help="Column with the patient of each case.")
        ] = None,
        by: Annotated[
            list[str] | None, typer.Option(help="Column that makes subgroups; may be repeated.")
        ] = None,
        weight: Annotated[str | None, typer.Option(help="Column with weights.")] = None,
        weight_type: Annotated[
            str | None,
            typer.Option(
                help="What weights are: frequency or sampling.",
                autocompletion=_words("frequency", "sampling"),
            ),
        ] = None,
        id: Annotated[str | None, typer.Option(help="Column that names the cases.")] = None,  # noqa: A002 - the option's name
        threshold: Annotated[
            str | None,
            typer.Option(
                help="A number, youden, sensitivity=0.95, specificity=0.9 or cost=5. If left out, 0.5 "
                "for probabilities, else youden."
            ),
        ] = None,
        threshold_from: Annotated[
            Path | None, typer.Option(help="Other predictions, which choose the threshold.")
        ] = None,
        prevalence: Annotated[
            float | None, typer.Option(help="Share of positives for predictive values.")
        ] = None,
        aggregate: Annotated[
            str | None,
            typer.Option(
                help="Results a patient: by the max or mean of the scores.",
                autocompletion=_words("max", "mean"),
            ),
        ] = None,
        missing: Annotated[
            str,
            typer.Option(
                help="Missing scores: error, exclude, positive or negative.",
                autocompletion=_words("error", "exclude", "positive", "negative"),
            ),
        ] = "error",
        confidence: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
        resamples: Annotated[int, typer.Option(help="For what has no formula.")] = 2000,
        margin: Annotated[
            float | None, typer.Option(help="By how much a non-inferior model may be worse.")
        ] = None,
        seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the resamples.")] = 0,
        out: Annotated[
            Path | None, typer.Option(help="Folder for page, pictures, tables and report.json.")
        ] = None,
        also: Annotated[
            list[str] | None,
            typer.Option(
                help="More pictures: det, scores; may be repeated.",
                autocompletion=_words("det", "scores"),
            ),
        ] = None,
        quiet: Annotated[bool, typer.Option("--quiet", help="Print errors alone.")] = False,
        json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
        fail_on: Annotated[
            list[str] | None,
            typer.Option(
                help="Exit code 1 for: warning, inferior, 'auc<0.9', 'sensitivity.low<0.8'; may be repeated."
            ),
        ] = None,
    ) -> None:
        """Judge the predictions in a file, with confidence intervals, and write a report."""

        def work() -> int:
            _require("evaluation", "evaluate", "scipy", "pyarrow")
            if out is not None:
                _require("report", "evaluate", "matplotlib", "jinja2")
            from ironstep.evaluate._run import run

            return run(
                file,
                label=label,
                score=score,
                classes=None if classes is None else classes.split(","),
                reader=reader or (),
                positive=positive,
                group=group,
                by=by or (),
                weight=weight,
                weight_type=weight_type,
                id=id,
                threshold=threshold,
                threshold_from=threshold_from,
                prevalence=prevalence,
                aggregate=aggregate,
                missing=missing,
                confidence_level=confidence,
                n_resamples=resamples,
                margin=margin,
                random_state=seed,
                out=out,
                also=also or (),
                quiet=quiet,
                as_json=json,
                fail_on=fail_on or (),
            )

        finish(work)

    @app.command()
    def experiment(
        name: Annotated[
            str, typer.Argument(help="; ".join(f"{n}: {what}" for n, what in EXPERIMENTS.items()))
        ],
        seeds: Annotated[
            int | None, typer.Option(min=2, help="How many; the experiment's number if left out.")
        ] = None,
        seed: Annotated[int, typer.Option(min=0, max=2**31, help="The first of them.")] = 0,
        out: Annotated[
            Path | None,
            typer.Option(help="Folder for the results; ironstep-experiments/NAME if left out."),
        ] = None,
        quick: Annotated[
            bool,
            typer.Option("--quick", help="Some seconds: shows that all runs, and little else."),
        ] = False,
        table: Annotated[
            Path | None,
            typer.Option(
                help="For retest: a CSV file with the columns model, original_correct, original_n, "
                "new_correct, new_n."
            ),
        ] = None,
    ) -> None:
        """Show whether what the lecture says happens: verdicts with intervals, tables, a picture."""

        def work() -> int:
            _require("experiment", "demo", "torch", "sklearn", "matplotlib")
            from ironstep.experiments._run import run

            return run(name, out, seeds=seeds, first=seed, quick=quick, table=table)

        finish(work)

    def train(
        out: Annotated[Path, typer.Option(help="Folder of the run, new or empty.")],
        options: Annotated[
            Path | None, typer.Option(help="A TOML file with these options; those here come first.")
        ] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Go on with the run in --out where it stopped.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", help="Print errors alone.")] = False,
        **given: Any,
    ) -> None:
        """Train a classifier; write checkpoints, history, predictions and a report of the test part."""

        def work() -> int:
            _require("training", "train", "torch", "matplotlib", "scipy", "jinja2")
            import ironstep
            from ironstep.train._run import run

            ironstep.keep_freed_memory()  # the process is there for nothing else
            return run(given, out, options_file=options, resume=resume, quiet=quiet)

        finish(work)

    _with_options(train)
    app.command()(train)

    def benchmark(name: str, modules: tuple[str, ...]) -> Callable[..., None]:
        def measure(
            case: Annotated[
                list[str] | None,
                typer.Option(help="Name or pattern of a case; may be repeated. All if left out."),
            ] = None,
            threads: Annotated[
                list[int] | None,
                typer.Option(min=1, help="May be repeated. 2 if left out; for optim also 1."),
            ] = None,
            rounds: Annotated[int, typer.Option(min=1, help="Rounds after the warm-up.")] = 15,
            out: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
            quick: Annotated[
                bool, typer.Option("--quick", help="Shows that all runs, times nothing.")
            ] = False,
        ) -> None:
            def work() -> int:
                _require("benchmark", "bench", *modules)
                run = importlib.import_module(f"ironstep.bench.{name}").run
                return int(run(case or None, threads or None, rounds, out, quick))

            finish(work)

        return measure

    for name, (what, *modules) in BENCHMARKS.items():
        bench.command(name, help=f"Measure {what}.")(benchmark(name, tuple(modules)))

    @app.command()
    def config() -> None:
        """Print version, instruction set, threads and what else a bug report should tell."""
        # What it says of torch, ironstep knows only once torch is loaded.
        with contextlib.suppress(ImportError):
            import torch  # noqa: F401

        import ironstep

        ironstep.show_config()

    return app


def _words(*words: str) -> Callable[[str], list[str]]:
    """Return what completes the beginning of one of these."""
    # The name is typer's.
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def _with_options(train: Callable[..., None]) -> None:
    """Give the function the fields of `Options`, which are written once, in the place of its last."""
    import typer

    from ironstep.train._options import Options

    signature = inspect.signature(train)
    *own, _ = signature.parameters.values()
    hints = get_type_hints(Options)
    fields = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[hints[field.name] | None, typer.Option(help=_help(field))],
        )
        for field in dataclasses.fields(Options)
    ]
    first = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    train.__signature__ = signature.replace(parameters=[*first, *fields])  # type: ignore[attr-defined]
    train.__annotations__ |= {each.name: each.annotation for each in fields}
    del train.__annotations__["given"]


def _help(field: "dataclasses.Field[Any]") -> str:
    text: str = field.metadata["help"]
    among = field.metadata.get("among")
    if among:
        text += f" One of {', '.join(among)}."
    return text if field.default in (None, "") else f"{text[:-1]}; {field.default} if left out."


def _require(what: str, extra: str, *modules: str) -> None:
    """Exit with one line on what to install, unless all modules are there."""
    missing = []
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise  # it is there and lacks something itself
            missing.append(DISTRIBUTIONS.get(name, name))
    if missing:
        print(
            f'The {what} needs {", ".join(missing)}: pip install "ironstep[{extra}]"',
            file=sys.stderr,
        )
        sys.exit(WRONG_USE)
