"""Predictions of two models for the images of some patients."""

import numpy as np


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
