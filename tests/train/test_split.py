"""Parts have no patient in common, and the classes in their shares."""

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironstep.train import InputError, split

SHARES = (0.6, 0.2, 0.2)


def test_every_row_is_in_one_part_in_order():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    parts = split(labels)
    assert sorted(np.concatenate(parts)) == list(range(100))
    assert all((np.diff(part) > 0).all() for part in parts)


@given(st.lists(st.integers(3, 60), min_size=1, max_size=5), st.integers(0, 2**32))
def test_each_class_is_apportioned_to_less_than_one_case(sizes, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for share, part in zip(SHARES, split(labels, random_state=seed), strict=True):
        counts = np.bincount(labels[part], minlength=len(sizes))
        # Webster's method may leave the quota by a case where there are three parts.
        assert (np.abs(counts - share * np.array(sizes)) <= 1 + 1e-9).all()


@given(st.data())
def test_no_patient_is_in_two_parts(data):
    n = data.draw(st.integers(40, 200))
    groups = np.array(data.draw(st.lists(st.integers(0, 30), min_size=n, max_size=n)))
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    try:
        parts = split(labels, groups=groups)
    except InputError:
        hypothesis.assume(False)
    held = [set(groups[part]) for part in parts]
    assert sum(map(len, held)) == len(set(groups))
    assert sum(map(len, parts)) == n


def test_patients_come_in_the_shares_and_so_do_classes():
    random = np.random.default_rng(0)
    groups = random.integers(0, 200, 2000)
    labels = (random.random(200) < 0.3).astype(int)[groups]
    for share, part in zip(SHARES, split(labels, groups=groups), strict=True):
        assert abs(len(part) / 2000 - share) < 0.01  # a patient has about 10 of 2,000 cases
        assert abs(labels[part].mean() - labels.mean()) < 0.02


def test_the_same_seed_gives_the_same_parts_and_another_others():
    labels = np.repeat([0, 1], 50)
    first, same, other = (split(labels, random_state=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_names_are_as_good_as_numbers():
    numbers = np.repeat([0, 1], 20)
    names = np.where(numbers == 1, "sick", "healthy")
    for a, b in zip(split(numbers), split(names), strict=True):
        assert np.array_equal(a, b)


def test_three_cases_are_enough_for_three_parts():
    assert [len(part) for part in split([0, 0, 0, 1, 1, 1])] == [2, 2, 2]


WRONG = [
    (dict(labels=[[0, 1]]), "labels: got shape"),
    (dict(labels=[0, 0, 0, 1, 1]), "class 1 has 2 cases, too few for 3 parts"),
    (dict(labels=[0, 0, 0, 1, 1, 1], groups=[1, 2, 3, 4, 4, 5]), "class 1 has cases of 2 patients"),
    (dict(labels=[0, 1], groups=[0]), "groups: got shape"),
    (dict(labels=[0, 1], shares=()), "shares"),
    (dict(labels=[0, 1], shares=(1, 0)), "shares"),
    (dict(labels=[0, 1], shares=(1, float("nan"))), "shares"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=[message for _, message in WRONG])
def test_what_cannot_be_divided_is_one_line(arguments, message):
    with pytest.raises(InputError, match=message) as caught:
        split(**arguments)
    assert "\n" not in str(caught.value)
