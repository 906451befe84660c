"""Inputs are standardised as numpy would do it."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from ironstep.train._models import Standardize


@pytest.mark.parametrize("channels", [1, 3])
def test_images_have_mean_0_and_deviation_1_by_channel(channels):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(256, (1500, channels, 5, 4), dtype=torch.uint8, generator=draw)
    values = images.numpy().astype(np.float64)
    mean, deviation = (f(values, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    made = Standardize.of(images)(images)
    assert made.dtype == torch.float32
    np.testing.assert_allclose(made.numpy(), (values - mean) / deviation, atol=1e-6)


def test_columns_of_a_table_have_mean_0_and_deviation_1_but_for_a_constant_one():
    table = torch.randn(50, 3) * 5 + 100
    table[:, 1] = 7
    made = Standardize.of(table)(table).numpy()
    values = table.numpy().astype(np.float64)
    wanted = (values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1)
    np.testing.assert_allclose(
        made, wanted, atol=1e-5
    )  # the mean, rounded to float32, is of size 100


def test_grey_images_are_repeated_to_three_channels():
    images = torch.randint(256, (4, 1, 3, 3), dtype=torch.uint8)
    made = Standardize.of(images, 3)(images)
    assert made.shape == (4, 3, 3, 3)
    assert torch.equal(made[:, 0], made[:, 2])
