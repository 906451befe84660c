"""Mixed are examples and their labels, in the same shares, which come from Beta(α, α)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

import ironstep
from ironstep.train import draw_mixup, mixup, mixup_real_fake

MODES = ("batch", "pair", "element")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 40), st.sampled_from(MODES), st.floats(0.05, 4), st.integers(0, 2**40))
def test_everybody_is_somebodys_partner(n, mode, alpha, seed):
    partner, lam = draw_mixup(n, alpha, mode, generator=seeded(seed))
    assert sorted(partner.tolist()) == list(range(n))
    shares = torch.as_tensor(lam).expand(n)
    assert bool(((shares >= 0) & (shares <= 1)).all())
    if mode == "pair":
        assert torch.equal(partner[partner], torch.arange(n))
        assert torch.equal(shares[partner], shares)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_inputs_and_target_are_mixed_alike(mode, dtype):
    labels = torch.arange(6)
    inputs = torch.nn.functional.one_hot(labels).to(dtype)[:, :, None]
    mixed, (own, other, lam) = mixup(inputs, labels, 0.5, mode, generator=seeded())
    assert mixed.dtype == dtype
    shares = torch.as_tensor(lam, dtype=torch.float64).expand(6)
    wanted = torch.zeros(6, 6, dtype=torch.float64)
    for row in range(6):
        wanted[row, own[row]] += shares[row]
        wanted[row, other[row]] += 1 - shares[row]
    atol = 2 * torch.finfo(dtype).eps  # a product, a difference and a sum
    torch.testing.assert_close(mixed[:, :, 0].double(), wanted, rtol=0, atol=atol)


def test_the_loss_takes_the_target():
    logits, labels = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 2])
    _, (a, b, lam) = mixup(logits, labels, 0.5, "element", generator=seeded())
    one_hot = [torch.nn.functional.one_hot(each, 3) for each in (a, b)]
    soft = lam[:, None] * one_hot[0] + (1 - lam[:, None]) * one_hot[1]
    wanted = torch.nn.functional.cross_entropy(logits, soft)
    torch.testing.assert_close(ironstep.nn.CrossEntropyLoss()(logits, (a, b, lam)), wanted)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_have_the_distributions_moments(alpha):
    _, lam = draw_mixup(40_000, alpha, "element", dtype=torch.float64, generator=seeded())
    shares = lam.numpy()
    # Six standard errors: the mean's and the second moment's are below 0.5 / √40,000.
    assert abs(shares.mean() - 0.5) < 6 * 0.5 / 200
    assert abs(np.square(shares - 0.5).mean() - 1 / (4 * (2 * alpha + 1))) < 6 * 0.25 / 200


def test_alpha_0_mixes_nothing():
    x, y = torch.randn(4, 2), torch.arange(4)
    mixed, (a, b, lam) = mixup(x, y, 0)
    assert torch.equal(mixed, x)
    assert torch.equal(a, b)
    assert lam == 1


def test_the_same_generator_mixes_the_same():
    x, y = torch.randn(9, 2), torch.arange(9)
    first, same, other = (mixup(x, y, 0.3, generator=seeded(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    torch.manual_seed(5)
    first = mixup(x, y, 0.3)[0]
    torch.manual_seed(5)
    assert torch.equal(mixup(x, y, 0.3)[0], first)


@pytest.mark.parametrize("mode", MODES)
def test_real_and_fake_are_mixed_by_their_label(mode):
    real, fake = torch.randn(50, 3, 2), torch.randn(50, 3, 2)
    mixed, label = mixup_real_fake(real, fake, 0.4, mode, generator=seeded())
    shape = label[:, None, None]
    torch.testing.assert_close(mixed, shape * real + (1 - shape) * fake)
    assert (len(set(label.tolist())) == 1) == (mode == "batch")


def test_wrong_arguments():
    x, y = torch.randn(4, 2), torch.arange(4)
    for alpha in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="alpha"):
            mixup(x, y, alpha)
    with pytest.raises(ValueError, match="mode: got 'all'"):
        mixup(x, y, 1, "all")
    with pytest.raises(ValueError, match="mode: got 'all'"):
        mixup_real_fake(x, x, 1, "all")
    with pytest.raises(ValueError, match="labels: got 3; 4"):
        mixup(x, y[:3], 1)
    with pytest.raises(TypeError, match=r"inputs: got torch\.uint8"):
        mixup(x.to(torch.uint8), y, 1)
    with pytest.raises(ValueError, match="fake: got"):
        mixup_real_fake(x, x[:2], 1)
