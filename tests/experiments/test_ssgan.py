"""Which images are seen with a label, without one, and not at all."""

import pytest
import torch

from ironstep.experiments import ssgan
from ironstep.experiments._digits import digits


@pytest.mark.parametrize("per_class", ssgan.PER_CLASS)
def test_labelled_unlabelled_and_test_images_are_all_and_disjoint(per_class):
    labelled, unlabelled, test = ssgan.few_labels(3, per_class)
    _, y = digits()
    assert y[labelled].bincount().tolist() == [per_class] * 10
    together = torch.cat([labelled, unlabelled, test])
    assert sorted(together.tolist()) == list(range(len(y)))
    assert len(test) == ssgan.N_TEST


def test_the_test_images_do_not_depend_on_the_number_of_labels():
    tests = [ssgan.few_labels(3, n)[2] for n in ssgan.PER_CLASS]
    assert all(torch.equal(tests[0], each) for each in tests)


def test_labels_of_the_unlabelled_are_never_looked_at(monkeypatch):
    labelled, unlabelled, test = ssgan.few_labels(0, 3)
    x, y = digits()
    hidden = y.clone()
    hidden[unlabelled] = -1  # no class: a loss that met one would raise
    monkeypatch.setattr(ssgan, "digits", lambda: (x, hidden))
    for how in ("labels alone", *ssgan.GENERATORS):
        model, made = ssgan.train(labelled, unlabelled, seed=0, steps=3, how=how)
        assert ssgan._accuracy(model, test) >= 0
        assert (made is None) == (how == "labels alone")


def test_labels_alone_learn():
    labelled, unlabelled, test = ssgan.few_labels(0, 10)
    model, _ = ssgan.train(labelled, unlabelled, seed=0, steps=150, how="labels alone")
    assert ssgan._accuracy(model, test) > 0.7
    assert ssgan._accuracy(model, labelled) > 0.95
