"""The digits and the loop that trains on them."""

import pytest
import torch

from ironstep.experiments import _digits


def test_digits_are_scaled_and_in_the_order_of_the_set():
    x, y = _digits.digits()
    assert x.shape == (1797, 64)
    assert (x.min(), x.max()) == (-1, 1)
    assert y[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_parts_are_disjoint_and_depend_on_the_seed():
    first = _digits.parts(0, 100, 50, of=200)
    again, other = _digits.parts(0, 100, 50, of=200), _digits.parts(1, 100, 50, of=200)
    assert [len(x) for x, _ in first] == [100, 50]
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0], other[0][0])
    rows = {tuple(row.tolist()) for row in _digits.digits()[0][:200]}
    seen = [tuple(row.tolist()) for x, _ in first for row in x]
    assert len(set(seen)) == 150  # no two of these images are equal
    assert set(seen) <= rows


def test_fit_learns_the_digits_and_is_the_same_every_time():
    train, test = _digits.parts(0, 1000, 500)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)
        model = _digits.mlp(64, 32, 10)
        losses.append(_digits.fit(model, *train, seed=0, epochs=10, lr=0.1, momentum=0.9))
    assert losses[0] == losses[1]
    assert _digits.accuracy(model, *test) > 0.9


@pytest.mark.parametrize("decay", ["constant", "cosine", "steps"])
def test_learning_rates_start_at_lr_and_never_rise(decay):
    rates = [_digits._decayed(decay, done / 20) for done in range(20)]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert (rates[-1] < 0.02) == (decay != "constant")


def test_an_mlp_has_no_relu_after_its_last_layer():
    model = _digits.mlp(64, 32, 10, dropout=0.5)
    names = [type(layer).__name__ for layer in model]
    assert names == ["Linear", "ReLU", "Dropout", "Linear"]
