"""Predictions of two models for the images of some patients."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

WORKED_EXAMPLE = Path(__file__).parents[2] / "docs" / "worked-example.md"


def predictions(n=400, seed=0):
    """Columns by their names; probabilities, patients who come several times, three sites."""
    random = np.random.default_rng(seed)
    patient = random.integers(0, n // 4, n)
    y = (random.random(n // 4) < 0.4)[patient].astype(int)

    def model(strength):
        return 1 / (1 + np.exp(-(random.normal(size=n) + strength * (y - 0.5))))

    return {
        "image": np.array([f"img{row}" for row in range(n)]),
        "patient": np.array([f"P{number}" for number in patient]),
        "y": y,
        "model_a": model(2.0),
        "model_b": model(1.2),
        "site": np.array(["Bern", "Oslo", "Lima"])[patient % 3],
    }


def csv_text(columns, separator=","):
    """The columns as text, every number with all its digits."""
    lines = [separator.join(columns)]
    lines += [separator.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    return "\n".join(lines) + "\n"


def worked_example(folder):
    """Run in a folder what docs/worked-example.md shows: the lines that write its file, its command."""
    text = WORKED_EXAMPLE.read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    code = "".join(line[4:] + "\n" for line in code.splitlines())  # without the prompts
    command = shlex.split(re.search(r"```sh\n(.*?)```", text, re.S)[1].replace("\\\n", ""))
    assert command.pop(0) == "ironstep"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=100)
    run = [sys.executable, "-m", "ironstep", *command, "--quiet"]
    subprocess.run(run, cwd=folder, check=True, timeout=300)
    return folder / "report"


CLASSES = ("benign", "in situ", "invasive", "normal", "other", "scar")


def predictions_of_classes(n=400, seed=0, classes=CLASSES):
    """A diagnosis of several, and probabilities of two models: model_class."""
    random = np.random.default_rng(seed)
    patient = random.integers(0, n // 4, n)
    y = random.integers(0, len(classes), n // 4)[patient]
    columns = {
        "image": np.array([f"img{row}" for row in range(n)]),
        "patient": np.array([f"P{number}" for number in patient]),
        "diagnosis": np.array(classes)[y],
        "site": np.array(["Bern", "Oslo"])[random.integers(0, 2, n)],
    }
    for model, strength in (("cnn", 2.0), ("vit", 1.0)):
        score = random.normal(size=(n, len(classes)))
        score[np.arange(n), y] += strength
        share = np.exp(score) / np.exp(score).sum(axis=1, keepdims=True)
        columns |= {f"{model}_{name}": share[:, at] for at, name in enumerate(classes)}
    return columns


FINDINGS = ("effusion", "nodule", "edema")


def predictions_of_findings(n=400, seed=0):
    """Three findings in each image, and probabilities of two models: model_finding."""
    random = np.random.default_rng(seed)
    truth = random.random((n, len(FINDINGS))) < [0.3, 0.2, 0.5]
    columns = {"patient": np.array([f"P{row // 3}" for row in range(n)])}
    columns |= {f"y_{name}": truth[:, at].astype(int) for at, name in enumerate(FINDINGS)}
    for model, strength in (("cnn", 2.0), ("vit", 1.0)):
        score = random.normal(size=truth.shape) + strength * (truth - 0.5)
        share = 1 / (1 + np.exp(-score))
        columns |= {f"{model}_{name}": share[:, at] for at, name in enumerate(FINDINGS)}
    return columns


def block(columns, prefix, names):
    """Columns side by side."""
    return np.stack([columns[f"{prefix}_{name}"] for name in names], axis=1)
