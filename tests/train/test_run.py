"""`ironstep train`: a folder with all that belongs to a run, and one line where something is wrong."""

import copy
import csv
import math
import pickle
import resource
import sys

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("sklearn")
pytest.importorskip("torch")

import torch
from torch import nn

from ironstep.nn import revert_batchnorm
from ironstep.train import _files, _run, draw_mixup, load_data
from ironstep.train._options import Options, make_options, read_options
from ironstep.train._run import DONE, INTERRUPTED, WRONG_INPUT, run
from ironstep.train._training import _MIXUP, _ORDER, Training, _seed, criteria
from train.files import medmnist, save_folder, save_medmnist

FILES = {"best.pt", "last.pt", "history.csv", "history.png", "options.toml", "predictions.csv"}
QUICK = dict(model="mlp", epochs=2, batch_size=128, threads=1)


pytestmark = pytest.mark.usefixtures("threads_as_before")


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def wrong(capsys, *arguments, **options):
    """The one line on stderr of a run that ends with 2."""
    assert run(*arguments, **options) == WRONG_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ironstep train: ")
    return line


def test_a_file_of_two_classes_becomes_a_run_with_a_report(tmp_path, capsys):
    path, out = save_medmnist(tmp_path / "set.npz"), tmp_path / "made" / "run"
    given = dict(
        QUICK,
        data=str(path),
        model="small-cnn",
        mixup=0.2,
        label_smoothing=0.1,
        augment="flip,rotate",
    )
    assert run(given, out) == DONE
    assert {each.name for each in out.iterdir()} == FILES | {"report"}
    assert (out / "history.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "report" / "index.html").exists()
    history = rows(out / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert float(history[0]["learning_rate"]) == 1e-3
    assert all(math.isfinite(float(value)) for row in history for value in row.values())
    predictions = rows(out / "predictions.csv")
    labels = medmnist()["test_labels"].ravel()
    assert [int(row["label"]) for row in predictions] == labels.tolist()
    assert predictions[3]["id"] == "test/3"
    for row in predictions:
        chances = [float(row["probability_0"]), float(row["probability_1"])]
        assert sum(chances) == pytest.approx(1)
        assert row["predicted"] == str(int(chances[1] > chances[0]))
    shown = capsys.readouterr().out
    assert shown.count("validation") == 3  # the sizes, and a line an epoch
    assert shown.splitlines()[-1] == f"Report: {out / 'report' / 'index.html'}"


@pytest.mark.parametrize("data", ["digits", "folder", "breast_cancer"])
def test_other_data_are_trained_with_too(tmp_path, data):
    given = dict(QUICK, data=data)
    if data == "folder":
        given |= dict(
            data=str(save_folder(tmp_path / "images")), patient=r"p\d+", model="small-cnn"
        )
    assert run(given, tmp_path / "run", quiet=True) == DONE
    predictions = rows(tmp_path / "run" / "predictions.csv")
    assert ("patient" in predictions[0]) == (data == "folder")
    assert (tmp_path / "run" / "report" / "index.html").exists()


def test_a_case_may_be_of_several_classes(tmp_path):
    random = np.random.default_rng(0)
    changes = {}
    for part in ("train", "val", "test"):
        n = len(medmnist()[f"{part}_images"])
        changes[f"{part}_labels"] = random.integers(0, 2, (n, 3), dtype=np.uint8)
    path = save_medmnist(tmp_path / "chest.npz", **changes)
    given = dict(QUICK, data=str(path), mixup=0.2, mixup_mode="pair", label_smoothing=0.1)
    assert run(given, tmp_path / "run", quiet=True) == DONE
    predictions = rows(tmp_path / "run" / "predictions.csv")
    assert [[int(row[f"label_{k}"]) for k in range(3)] for row in predictions] == changes[
        "test_labels"
    ].tolist()


@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("model", ["mlp", "small-cnn"])
def test_the_losses_are_those_of_the_same_loop_in_plain_torch(model, mixup):
    data = load_data("digits")
    options = Options(data="digits", model=model, mixup=mixup, label_smoothing=0.1, batch_size=100)
    training = Training(data, options)
    network = revert_batchnorm(copy.deepcopy(training.network)).double().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    pixels = data.train.inputs.double()
    inputs = (pixels - pixels.mean()) / pixels.std(correction=0)
    order = np.random.default_rng(_seed(0, 1, _ORDER)).permutation(len(inputs))
    mixing = torch.Generator().manual_seed(_seed(0, 1, _MIXUP))
    total = 0.0
    for batch in torch.split(torch.from_numpy(order), 100):
        x, y = inputs[batch], data.train.labels[batch]
        partner, lam = draw_mixup(len(x), mixup, generator=mixing)
        optimizer.zero_grad()
        logits = network(lam * x + (1 - lam) * x[partner])
        loss = lam * loss_of(logits, y) + (1 - lam) * loss_of(logits, y[partner])
        loss.backward()
        optimizer.step()
        total += loss.item() * len(x)
    # float32 against float64 over the eleven steps of an epoch, of which the first Adam's divide by √v.
    assert training.epoch()["train_loss"] == pytest.approx(total / len(inputs), rel=1e-4)


def by_torch(data, seed, epochs):
    """The accuracy on the test part of the same training in plain torch."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU(),
        nn.Linear(256, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    pixels = data.train.inputs.float()
    mean, deviation = pixels.mean(), pixels.std()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        network.train()
        for batch in torch.randperm(len(pixels)).split(64):
            optimizer.zero_grad()
            logits = network((pixels[batch] - mean) / deviation)
            nn.functional.cross_entropy(logits, data.train.labels[batch]).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        logits = network((data.test.inputs.float() - mean) / deviation)
    return (logits.argmax(1) == data.test.labels).double().mean().item()


def test_the_accuracy_is_that_of_plain_torch():
    data, epochs, seeds = load_data("digits"), 4, range(6)
    ours = []
    for seed in seeds:
        training = Training(data, Options(data="digits", model="mlp", epochs=epochs, seed=seed))
        for _ in range(epochs):
            training.epoch()
        ours.append(criteria(training.predict(data.test), data.test.labels)["accuracy"])
    theirs = [by_torch(data, seed, epochs) for seed in seeds]
    assert min(ours) > 0.9
    spread = math.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / len(ours))
    # Three standard errors of the difference, and a case of 358 where they have no spread at all.
    assert abs(np.mean(ours) - np.mean(theirs)) < 3 * spread + 1 / 358


ALL = dict(
    QUICK,
    data="digits",
    epochs=4,
    mixup=0.3,
    mixup_mode="element",
    augment="rotate,erase",
    warmup=1,
)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [("sgd", "cosine"), ("adam", "linear"), ("rmsprop", "step"), ("adagrad", "constant")],
)
def test_a_training_goes_on_from_its_state_bit_for_bit(optimizer, schedule):
    options = Options(**ALL | dict(optimizer=optimizer, lr_schedule=schedule))
    data = load_data("digits")
    whole = Training(data, options)
    rows = [whole.epoch() for _ in range(3)]
    first = Training(data, options)
    assert first.epoch() == rows[0]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    torch.rand(5)  # what others draw in between does not matter
    second = Training(data, options)
    second.load_state_dict(state)
    assert [second.epoch() for _ in range(2)] == rows[1:]
    for a, b in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(a, b)


def interrupted(monkeypatch, when):
    """Let Ctrl-C come in that epoch, after the first batch of it."""
    epoch = Training.epoch

    def then_ctrl_c(self, on_batch=lambda: None):
        def stop():
            if self.epochs_done + 1 == when:
                raise KeyboardInterrupt
            on_batch()

        return epoch(self, stop)

    monkeypatch.setattr(Training, "epoch", then_ctrl_c)


@pytest.mark.parametrize("when", [1, 3])
def test_ctrl_c_keeps_all_finished_epochs_and_says_how_to_go_on(
    tmp_path, monkeypatch, capsys, when
):
    assert run(ALL, tmp_path / "whole", quiet=True) == DONE
    out = tmp_path / "stopped run"
    with monkeypatch.context() as patch:
        interrupted(patch, when)
        assert run(ALL, out) == INTERRUPTED
    shown = capsys.readouterr().out
    assert f"{when - 1} of 4 epochs are kept" in shown
    assert f"ironstep train --resume --out '{out}'" in shown
    assert (out / "history.png").exists() == (when > 1)
    assert run({}, out, resume=True, quiet=True) == DONE
    for name in ("history.csv", "predictions.csv", "best.pt"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_that_is_done_is_judged_again(tmp_path):
    out = tmp_path / "run"
    given = dict(QUICK, data="breast_cancer")
    assert run(given, out, quiet=True) == DONE
    before = {name: (out / name).read_bytes() for name in FILES}
    assert run(given, out, resume=True, quiet=True) == DONE
    assert {name: (out / name).read_bytes() for name in FILES} == before


def test_training_stops_early(tmp_path, capsys):
    given = dict(
        QUICK, data="breast_cancer", epochs=50, patience=2, lr=0.05, lr_schedule="constant"
    )
    assert run(given, tmp_path / "run") == DONE
    assert "no better loss for 2 epochs: stopped early" in capsys.readouterr().out
    losses = [float(row["validation_loss"]) for row in rows(tmp_path / "run" / "history.csv")]
    assert len(losses) < 50
    assert losses.index(min(losses)) == len(losses) - 3
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert best["epoch"] == len(losses) - 2


def test_a_loss_that_is_not_finite_is_one_line_and_loses_nothing(tmp_path, capsys, monkeypatch):
    out, given = tmp_path / "run", dict(QUICK, data="digits", epochs=3)
    epoch = Training.epoch

    def poisoned(self, on_batch=lambda: None):
        if self.epochs_done == 2:
            next(self.network.parameters()).data[0] = math.inf
        return epoch(self, on_batch)

    monkeypatch.setattr(Training, "epoch", poisoned)
    line = wrong(capsys, given, out)
    assert "epoch 3, batch 1: the loss is nan" in line
    assert len(rows(out / "history.csv")) == 2
    state = torch.load(out / "last.pt", weights_only=True)["training"]["network"]
    assert all(value.isfinite().all() for value in state.values())


def test_a_huge_learning_rate_is_one_line(tmp_path, capsys):
    given = dict(QUICK, data="digits", optimizer="sgd", lr=1e30)
    assert "the loss is" in wrong(capsys, given, tmp_path / "run")


def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(tmp_path, capsys, monkeypatch):
    out, given = tmp_path / "run", dict(QUICK, data="digits", epochs=3)
    epoch = Training.epoch
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def then_full(self, on_batch=lambda: None):
        if self.epochs_done == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
        return epoch(self, on_batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "epoch", then_full)
        try:
            line = wrong(capsys, given, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written: File too large" in line
    assert torch.load(out / "last.pt", weights_only=True)["training"]["epochs_done"] == 1
    assert not list(out.glob(".*"))
    assert run({}, out, resume=True, quiet=True) == DONE
    assert len(rows(out / "history.csv")) == 3


def test_a_folder_that_has_something_is_not_touched(tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    assert "has files that are no run" in wrong(capsys, dict(QUICK, data="digits"), tmp_path)
    assert "is no folder" in wrong(capsys, dict(QUICK, data="digits"), tmp_path / "letter.txt")
    assert [each.name for each in tmp_path.iterdir()] == ["letter.txt"]
    given = dict(QUICK, data="breast_cancer", epochs=1)
    assert run(given, tmp_path / "run", quiet=True) == DONE
    assert "--resume goes on with it" in wrong(capsys, given, tmp_path / "run")


def test_a_run_is_resumed_with_the_options_and_data_that_it_has(tmp_path, capsys):
    path, out = save_medmnist(tmp_path / "set.npz"), tmp_path / "run"
    assert "no run to resume" in wrong(capsys, {}, out, resume=True)
    assert run(dict(QUICK, data=str(path)), out, quiet=True) == DONE
    assert "lr: got '0.5', and the run in" in wrong(capsys, dict(lr=0.5), out, resume=True)
    save_medmnist(path, val_labels=1 - medmnist()["val_labels"])
    assert "is not what it was" in wrong(capsys, {}, out, resume=True)


class Attack:
    def __reduce__(self):
        return (sys.exit, (7,))


@pytest.mark.parametrize("what", ["nothing", "damaged", "attack", "foreign"])
def test_a_checkpoint_that_is_none_is_one_line(tmp_path, capsys, what):
    out = tmp_path / "run"
    assert run(dict(QUICK, data="digits"), out, quiet=True) == DONE
    whole = (out / "last.pt").read_bytes()
    content = {
        "nothing": b"",
        "damaged": whole[:1000],
        "attack": pickle.dumps(Attack()),
        "foreign": None,
    }[what]
    if content is None:
        torch.save({"format": "another"}, out / "last.pt")
    else:
        (out / "last.pt").write_bytes(content)
    assert "last.pt: " in wrong(capsys, {}, out, resume=True)


OPTIONS = [
    (dict(), "data: missing"),
    (dict(data="nowhere"), "nowhere: no such file or folder"),
    (dict(data="digits", model="smal-cnn"), "model: no 'smal-cnn'; did you mean small-cnn"),
    (dict(data="digits", model="resnet19"), "did you mean resnet1"),
    (dict(data="digits", model="alexnet"), "does not take inputs of shape (3, 8, 8); --size makes"),
    (dict(data="iris", model="small-cnn"), "takes images, and the data are a table"),
    (dict(data="iris", model="mlp", augment="flip"), "augment: is for images"),
    (dict(data="digits", augment="flop"), "augment: no 'flop'; did you mean flip?"),
    (dict(data="digits", augment="flip,flip"), "each once"),
    (dict(data="digits", optimizer="adamax"), "optimizer: got 'adamax'; adagrad, adam, adamw"),
    (dict(data="digits", epochs=0), "epochs: got 0; a number at least 1 expected"),
    (dict(data="digits", lr=0.0), "lr: got 0.0; a number above 0"),
    (dict(data="digits", lr=math.nan), "lr: got nan; a number a finite one"),
    (dict(data="digits", label_smoothing=1.5), "label_smoothing: got 1.5; a number at most 1"),
    (dict(data="digits", device="tpu"), "device: got 'tpu'"),
    (dict(data="digits", positive="3"), "positive: got '3'; one of two classes"),
    (dict(data="iris", patient="x"), "patient: is for folders"),
    (dict(data="digits", model="torch:nothing"), "model torch:nothing: "),
    (dict(data="digits", model="math:pi"), "model math:pi: got float; a torch.nn.Module"),
    (dict(data="digits", unfreeze_top="layer9"), "unfreeze_top: no layer 'layer9'"),
    (dict(data="digits", unfreeze_top="9"), "unfreeze_top: top: got 9; 1 to 6 layers"),
    (dict(data="digits", weights="nowhere.pt"), "nowhere.pt: no such file"),
    (dict(data="digits", model="timm:resnet18"), "needs timm"),
]


@pytest.mark.parametrize(("given", "message"), OPTIONS, ids=[message for _, message in OPTIONS])
def test_a_wrong_option_is_one_line_and_nothing_is_written(tmp_path, capsys, given, message):
    if "torchvision" not in sys.modules and given.get("model", "").startswith(("alex", "res")):
        pytest.importorskip("torchvision")
    if "timm" in message and __import__("importlib.util").util.find_spec("timm"):
        pytest.skip("timm is there")
    assert message in wrong(capsys, given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_options_come_from_a_file_and_are_written_beside_the_run(tmp_path):
    path = tmp_path / "options.toml"
    path.write_text(
        'data = "breast-cancer"\nmodel = "mlp"\nlr = 1\nlabel-smoothing = 0.1\nepochs = 1\n'
        "augment = []\n",
        encoding="utf-8",
    )
    out = tmp_path / "run"
    assert run(dict(epochs=2), out, options_file=path, quiet=True) == DONE
    kept = make_options(read_options(out / "options.toml"))
    assert kept == Options(data="breast-cancer", model="mlp", lr=1.0, label_smoothing=0.1, epochs=2)


TOML = [
    ("epochs = 'many'", "epochs: got 'many'; a whole number expected"),
    ("epochs = 1.5", "epochs: got '1.5'; a whole number expected"),
    ("lr = true", "lr: got 'True'; a number expected"),
    ("learning = 1", "no option 'learning'; there are data, "),
    ("a = = 1", "is no TOML"),
    ("[train]\nlr = 1", "no option 'train'"),
]


@pytest.mark.parametrize(("text", "message"), TOML, ids=[text for text, _ in TOML])
def test_a_wrong_options_file_is_one_line(tmp_path, capsys, text, message):
    (tmp_path / "options.toml").write_text(text, encoding="utf-8")
    line = wrong(capsys, {}, tmp_path / "run", options_file=tmp_path / "options.toml")
    assert message in line
    assert "cannot be read" in wrong(
        capsys, {}, tmp_path / "run", options_file=tmp_path / "nowhere.toml"
    )


def test_options_survive_any_text(tmp_path):
    text = 'a"b\\c\n\t\x7f ü 1'
    options = Options(data="digits", patient=text, augment="flip")
    (tmp_path / "o.toml").write_text(options.as_toml(), encoding="utf-8")
    assert make_options(read_options(tmp_path / "o.toml")) == options


def test_the_positive_class_is_the_one_that_is_named(tmp_path):
    given = dict(QUICK, data="breast_cancer", positive="malignant")
    assert run(given, tmp_path / "run", quiet=True) == DONE
    page = (tmp_path / "run" / "report" / "report.json").read_text(encoding="utf-8")
    assert '"positive": "malignant"' in page


def test_a_model_of_the_users_is_trained(tmp_path, monkeypatch):
    (tmp_path / "nets_of_mine.py").write_text(
        "from torch import nn\n"
        "def net(shape, n_classes):\n"
        "    return nn.Sequential(nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, n_classes))\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert (
        run(dict(QUICK, data="digits", model="nets_of_mine:net"), tmp_path / "run", quiet=True)
        == DONE
    )


def test_a_torchvision_model_is_trained_on_grey_images(tmp_path):
    pytest.importorskip("torchvision")
    given = dict(QUICK, data=str(save_medmnist(tmp_path / "set.npz")), model="resnet18", epochs=1)
    assert run(given, tmp_path / "run", quiet=True) == DONE


def test_a_rest_of_one_case_joins_the_last_batch():
    options = Options(data="digits", model="mlp", batch_size=83)  # 1,080 = 13 · 83 + 1
    training = Training(load_data("digits"), options)
    sizes = [len(batch) for batch in training._batches(np.arange(1080))]
    assert sizes == [83] * 12 + [84]
    training.epoch()


def test_nothing_is_left_of_what_a_kill_left(tmp_path):
    out = tmp_path / "run"
    assert run(dict(QUICK, data="breast_cancer"), out, quiet=True) == DONE
    (out / ".last.pt.tmp").write_bytes(b"half")
    (out / ".report-x1").mkdir()
    assert run({}, out, resume=True, quiet=True) == DONE
    assert not list(out.glob(".*"))


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    _files.write(tmp_path / "a", b"before")

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        _files.write(tmp_path / "a", b"after", to_disk=True)
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"before"


def test_nan_is_never_the_best(tmp_path):
    given = _run._Run(Options(data="x", monitor="auc"), tmp_path, False, None, None)
    given.history, given.best_epoch = [{"validation_auc": math.nan}], 1
    assert given._is_best({"validation_auc": 0.1})
    given.history = [{"validation_auc": 0.5}]
    assert not given._is_best({"validation_auc": math.nan})


def test_the_last_layer_alone_is_trained_on_features_that_are_computed_once():
    data = load_data("digits")
    given = dict(data="digits", model="small-cnn", unfreeze_top="1", lr=0.01)
    by_features, whole = (Training(data, Options(**given)) for _ in range(2))
    whole._run, whole._features = whole.network, None
    for _ in range(2):
        fast, slow = by_features.epoch(), whole.epoch()
        for name, value in slow.items():
            # The same sums in other orders: the products of a batch are not those of all cases.
            assert fast[name] == pytest.approx(value, rel=1e-4), name
    calls = []
    by_features.network[0].register_forward_hook(lambda *_: calls.append(1))
    by_features.epoch()
    assert not calls


def test_a_run_is_fine_tuned_from_another_with_other_classes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(dict(QUICK, data="digits", model="small-cnn"), first, quiet=True) == DONE
    given = dict(
        QUICK, data=str(save_medmnist(tmp_path / "set.npz")), model="small-cnn",
        weights=str(first / "best.pt"), unfreeze_top="3", layer_decay=0.5,
    )  # fmt: skip
    assert run(given, second, quiet=True) == DONE
    before, after = (
        torch.load(each / "best.pt", weights_only=True)["network"] for each in (first, second)
    )
    for name, value in after.items():
        same = value.shape == before[name].shape and torch.equal(value, before[name])
        assert same == (int(name.partition(".")[0]) < 9), name
    assert rows(second / "history.csv")[0]["learning_rate"] == "0.001"
