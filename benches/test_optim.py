"""One contestant of one case at a time, to follow our own times from version to version.

The same cases as `python -m ironstep bench optim`, which interleaves the contestants and is where
ratios come from. Run with `pytest benches`, one case with `-k adam-mlp`.
"""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytest_benchmark")

from ironstep.bench.optim.cases import CASES  # noqa: E402
from ironstep.bench.optim.contestants import admit, names, set_threads  # noqa: E402

PAIRS = [
    pytest.param(case, name, id=f"{case.name}-{name}", marks=pytest.mark.benchmark(group=case.name))
    for case in CASES.values()
    if not case.on_request and case.kind in ("step", "backward", "iteration")
    for name in names(case)
]


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    set_threads(min(2, before))
    yield
    set_threads(before)


@pytest.mark.parametrize(("case", "name"), PAIRS)
def test_step(case, name, benchmark):
    first = names(case)[0]
    field = admit(case, list(dict.fromkeys([first, name])), torch.get_num_threads())
    if name in field.left_out:
        assert name != "ironstep", field.left_out[name]
        pytest.skip(field.left_out[name])
    contestant = next(each for each in field.entrants if each.name == name)
    benchmark.extra_info["elements"] = case.elements
    if contestant.before is None:
        benchmark(contestant.run)
    else:
        benchmark.pedantic(contestant.run, setup=contestant.before, rounds=200, warmup_rounds=20)
