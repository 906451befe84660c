"""The demo: that it compares what it says it compares, notices a wrong rule, and saves it all."""

import dataclasses
import json
import signal

import pytest
import torch

import ironstep.optim
from ironstep import demo
from ironstep.demo.cases import CASES, TASKS
from ironstep.demo.race import LEAST_EPOCHS, OURS, distance, largest_difference, race
from ironstep.demo.report import picture

FILES = {"loss.png", "loss.svg", "results.md", "results.json"}
BY_NAME = {str(case): case for case in CASES}


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads change no result here, and with two each operation waits for a busy neighbour."""
    before = torch.get_num_threads(), ironstep.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    ironstep.set_num_threads(before[1])


TRAINED = demo._report


@pytest.fixture(autouse=True)
def _not_trained(monkeypatch):
    """What `ironstep train` does has its own tests; here it takes no time."""
    monkeypatch.setattr(demo, "_report", lambda *_: "Report: somewhere")


def only(monkeypatch, *names):
    monkeypatch.setattr(demo, "CASES", tuple(BY_NAME[name] for name in names))


def results(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_all_trainings_are_the_same_and_everything_is_saved(tmp_path, capsys):
    out = tmp_path / "made" / "by it"
    assert demo.run(out, quick=True) == demo.SAME
    assert {path.name for path in out.iterdir()} == FILES
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")

    saved = results(out)
    assert len(saved["cases"]) == 10
    assert all(case["agrees"] and not case["handed_over"] for case in saved["cases"])
    assert saved["facts"]["torch"] == torch.__version__
    assert saved["facts"]["instruction_set"] == ironstep.config()["instruction_set"]
    assert saved["facts"]["torch_threads"] == torch.get_num_threads()

    epoch = saved["epoch"]
    assert set(epoch) == {"default", "fused", OURS}
    for each in epoch.values():
        assert each["seconds"]["median"] > 0
        assert sum(each["share"].values()) == pytest.approx(1)
        assert min(each["share"].values()) > 0
        assert each["last_mean_loss"] == pytest.approx(epoch["default"]["last_mean_loss"], rel=0.05)

    text = (out / "results.md").read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    for name in BY_NAME:
        assert text.count(f"| {name} |") == 3
        assert shown.count(f"{name} ") >= 3
    assert "same up to rounding" in shown
    assert all(name in shown for name in FILES)


WRONG = [
    ("cancer · SGD", dict(momentum=0.9001)),
    ("cancer · SGD", dict(nesterov=True)),
    ("cancer · Adagrad", dict(lr=0.030003)),
    ("cancer · RMSprop", dict(eps_inside_sqrt=True)),
    ("cancer · Adam", dict(betas=(0.9, 0.9991))),
    ("cancer · Adam", dict(bias_correction="second")),
    ("cancer · AdamW", dict(weight_decay=0.02)),
    ("digits · Adam", dict(lr=0.0030003)),
]


def misuse(monkeypatch, name, wrong):
    """Let the demo train with these arguments where it names others."""
    rule = BY_NAME[name].rule.name
    right = getattr(ironstep.optim, rule)
    monkeypatch.setattr(
        ironstep.optim, rule, lambda params, **arguments: right(params, **(arguments | wrong))
    )


@pytest.mark.parametrize(
    ("name", "wrong"), WRONG, ids=[f"{name}-{next(iter(wrong))}" for name, wrong in WRONG]
)
def test_a_slightly_wrong_rule_is_noticed(monkeypatch, name, wrong):
    misuse(monkeypatch, name, wrong)
    assert not race(BY_NAME[name], 0, LEAST_EPOCHS).agrees


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", BY_NAME)
def test_any_seed_is_the_same_up_to_rounding(name, seed):
    # Far below the ten times that are allowed: what is seen there is at most 1.7.
    outcome = race(BY_NAME[name], seed, 2)
    assert outcome.off[OURS] <= 0.4 * outcome.allowed


def test_a_difference_is_1_and_says_where(monkeypatch, tmp_path, capsys):
    only(monkeypatch, "cancer · SGD", "cancer · Adam")
    misuse(monkeypatch, "cancer · SGD", dict(momentum=0.8))
    assert demo.run(tmp_path, quick=True) == demo.DIFFERENT
    assert [case["agrees"] for case in results(tmp_path)["cases"]] == [False, True]
    shown = capsys.readouterr().out
    assert "cancer · SGD: ironstep is" in shown
    assert "rounding explains" in shown


def test_nan_is_not_the_same():
    outcome = race(BY_NAME["cancer · SGD"], seed=0, epochs=1)
    assert outcome.agrees
    assert not dataclasses.replace(outcome, off=outcome.off | {OURS: float("nan")}).agrees


def test_parameters_that_torch_stepped_are_reported(monkeypatch, tmp_path, capsys):
    only(monkeypatch, "cancer · Adam")
    misuse(monkeypatch, "cancer · Adam", dict(backend="torch"))
    assert demo.run(tmp_path, quick=True) == demo.SAME
    assert "let torch step" in capsys.readouterr().out
    assert results(tmp_path)["cases"][0]["handed_over"]


def test_a_slow_machine_trains_less_and_says_so(monkeypatch, tmp_path, capsys):
    only(monkeypatch, "cancer · SGD", "cancer · Adam")
    monkeypatch.setattr(demo, "BUDGET", 0.0)
    assert demo.run(tmp_path) == demo.SAME
    assert "2 trainings were cut short" in capsys.readouterr().out
    losses = [case["training_loss"]["ironstep"] for case in results(tmp_path)["cases"]]
    assert [len(loss) for loss in losses] == [LEAST_EPOCHS, LEAST_EPOCHS]


@pytest.mark.parametrize("finished", [0, 1, 2])
def test_ctrl_c_saves_what_is_done(monkeypatch, tmp_path, capsys, finished):
    only(monkeypatch, "cancer · SGD", "cancer · Adam", "cancer · AdamW")
    calls = iter(range(3))

    def interrupted(case, seed, epochs, on_epoch, deadline):
        stop = next(calls) == finished

        def then_ctrl_c():
            on_epoch()
            if stop:
                signal.raise_signal(signal.SIGINT)

        return race(case, seed, epochs, then_ctrl_c, deadline)

    monkeypatch.setattr(demo, "race", interrupted)
    assert demo.run(tmp_path, quick=True) == demo.INTERRUPTED
    if finished:
        assert len(results(tmp_path)["cases"]) == finished
        assert f"Stopped after {finished} of 3" in capsys.readouterr().out
    else:
        assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_wrong_use(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert demo.run(tmp_path / "file") == demo.WRONG_USE
    assert "Cannot write into" in capsys.readouterr().out


def test_the_picture_shows_both_curves_of_every_case():
    outcomes = [race(BY_NAME[name], 0, 2) for name in ("digits · SGD", "cancer · Adam")]
    panels = [panel for panel in picture(outcomes).axes if panel.get_visible()]
    assert len(panels) == 2
    for panel in panels:
        assert [line.get_label() for line in panel.lines] == ["torch", "ironstep"]
        broad, thin = panel.lines
        assert broad.get_linewidth() > 2 * thin.get_linewidth()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_data_are_split_by_class_and_standardised_on_the_training_part(task):
    parts = task.load()
    sizes = [len(part.labels) for part in parts]
    assert sizes == {"digits": [1078, 359, 360], "cancer": [341, 114, 114]}[task.name]
    shares = [part.labels.bincount() / len(part.labels) for part in parts]
    for share in shares[1:]:
        torch.testing.assert_close(share, shares[0], atol=0.01, rtol=0)
    dims = 0 if task.name == "cancer" else None
    train = parts[0].inputs.double()
    for statistic, wanted in ((train.mean(dims), 0.0), (train.std(dims, correction=0), 1.0)):
        torch.testing.assert_close(statistic, torch.full_like(statistic, wanted), atol=1e-6, rtol=0)


def test_the_split_is_the_same_every_time():
    first, second = TASKS[1].load(), TASKS[1].load()
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.inputs, b.inputs)


def test_the_same_seed_trains_the_same():
    first, second = (race(BY_NAME["cancer · Adam"], 5, 2) for _ in range(2))
    assert first.losses == second.losses
    assert race(BY_NAME["cancer · Adam"], 6, 2).losses != first.losses


def test_threads_are_set_for_both(monkeypatch, tmp_path):
    only(monkeypatch, "cancer · SGD")
    demo.run(tmp_path, quick=True, threads=2)
    facts = results(tmp_path)["facts"]
    assert (facts["torch_threads"], facts["ironstep_threads"]) == (2, 2)


def test_distance_is_relative_to_each_tensor():
    small, large = torch.full((4,), 1e-3), torch.full((4,), 1e3)
    assert distance([small * 1.01, large], [small, large]) == pytest.approx(0.01 / 2**0.5, rel=1e-4)
    assert largest_difference([small, large * 1.01], [small, large]) == pytest.approx(
        0.01, rel=1e-4
    )


def test_the_commands_training_comes_first_and_its_report_last(monkeypatch, tmp_path, capsys):
    only(monkeypatch, "cancer · SGD")
    monkeypatch.setattr(demo, "_report", TRAINED)
    monkeypatch.setattr(demo, "train", lambda *_, **__: None)
    for _ in range(2):  # the second time in the place of the first
        assert demo.run(tmp_path, quick=True) == demo.SAME
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].startswith(
            "ironstep train --data breast_cancer --model mlp --positive malignant"
        )
        page = tmp_path / "training" / "report" / "index.html"
        assert lines[-1] == f"Report: {page}"
        assert "malignant" in page.read_text(encoding="utf-8")


def test_ctrl_c_in_the_training_is_130(monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "_report", TRAINED)
    monkeypatch.setattr("ironstep.train._training.Training.epoch", stop)
    assert demo.run(tmp_path, quick=True) == demo.INTERRUPTED


def test_without_what_a_report_needs_the_last_line_says_so(monkeypatch, tmp_path, capsys):
    only(monkeypatch, "cancer · SGD")
    monkeypatch.setattr(demo, "_report", TRAINED)
    monkeypatch.setattr(demo, "train", lambda *_, **__: None)
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "jinja2" else name)
    assert demo.run(tmp_path, quick=True) == demo.SAME
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == 'No report: it needs jinja2: pip install "ironstep[train]"'
