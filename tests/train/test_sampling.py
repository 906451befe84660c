"""Mini-batches: that each way of drawing is what it says, and unbiased."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from ironstep.train import minibatches


def test_without_replacement_an_epoch_sees_each_sample_once():
    batches = list(minibatches(10, 4, epochs=3, random_state=0))
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    for epoch in range(3):
        seen = np.concatenate(batches[3 * epoch : 3 * epoch + 3])
        assert sorted(seen) == list(range(10))
    assert not np.array_equal(batches[0], batches[3])


def test_with_replacement_each_index_is_drawn_from_all():
    batches = list(minibatches(3, 5, replacement=True, epochs=400, random_state=1))
    assert [len(batch) for batch in batches] == [5] * 400
    counts = np.bincount(np.concatenate(batches), minlength=3)
    # 2,000 draws of 1/3: six standard deviations of √(2000·2/9) = 21.
    assert np.abs(counts - 2000 / 3).max() < 127
    # And independent of one another: repeated within a batch, as 5 of 3 must be, and across.
    assert len({tuple(batch) for batch in batches}) > 150  # of 243 possible


def all_means(values, size, *, replacement):
    """The mean of every batch that can be drawn, each as likely as the others."""
    with_ = itertools.product(values, repeat=size)
    drawn = with_ if replacement else itertools.permutations(values, size)
    return [sum(each) / size for each in drawn]


@pytest.mark.parametrize("replacement", [False, True])
def test_the_batch_mean_is_unbiased_and_its_variance_is_as_documented(replacement):
    values, size = [Fraction(v) for v in (3, -1, 4, 1, 5)], 2
    n, mean = len(values), sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / n
    means = all_means(values, size, replacement=replacement)
    assert sum(means) / len(means) == mean
    found = sum((m - mean) ** 2 for m in means) / len(means)
    shrinks = 1 if replacement else Fraction(n - size, n - 1)
    assert found == variance / size * shrinks

    # And what is drawn is that distribution: each of the batches equally often.
    drawn = itertools.islice(
        minibatches(n, size, replacement=replacement, random_state=2),
        0,
        6000,
        3 if not replacement else 1,
    )
    counts = {}
    for batch in drawn:
        counts[tuple(batch)] = counts.get(tuple(batch), 0) + 1
    assert len(counts) == len(means)
    expected = sum(counts.values()) / len(counts)
    chi2 = sum((count - expected) ** 2 for count in counts.values()) / expected
    assert chi2 < 60  # 19 and 24 degrees of freedom: beyond 60 comes once in 10⁴ seeds


def test_the_same_seed_draws_the_same():
    first, second = (list(minibatches(7, 3, epochs=2, random_state=5)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.intp


def test_without_epochs_it_goes_on():
    assert len(list(itertools.islice(minibatches(2, 2), 100))) == 100


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (dict(n_samples=0, batch_size=1), "n_samples"),
        (dict(n_samples=3, batch_size=0), "batch_size"),
        (dict(n_samples=3, batch_size=4), "batch_size"),
        (dict(n_samples=3, batch_size=0, replacement=True), "batch_size"),
        (dict(n_samples=3, batch_size=1, epochs=-1), "epochs"),
    ],
)
def test_sizes_out_of_range_are_refused_at_the_call(arguments, name):
    with pytest.raises(ValueError, match=name):
        minibatches(**arguments)
