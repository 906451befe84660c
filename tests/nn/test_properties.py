"""What holds for every batch."""

import hypothesis.extra.numpy as npst
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import ironstep
from nn.batchnorm_cases import CLASSES

shapes = st.one_of(
    st.tuples(st.integers(2, 9), st.integers(1, 5)),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 9)),
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(2, 6)),
)
batches = shapes.flatmap(
    lambda shape: npst.arrays(np.float64, shape, elements=st.floats(-100, 100, width=32))
)


def normalized(x, eps=1e-12, **kwargs):
    x = torch.as_tensor(x)
    cls = getattr(ironstep.nn, CLASSES[x.dim()])
    return cls(x.shape[1], eps=eps, affine=False, **kwargs).double()(x)


def spread(x):
    """Each channel's standard deviation, in the place of its elements."""
    x = torch.as_tensor(x)
    dims = [d for d in range(x.dim()) if d != 1]
    return x.var(dims, keepdim=True, correction=0).sqrt().expand(x.shape)


@given(batches, st.floats(1e-3, 1e3))
def test_scale_invariance(x, a):
    """BN(ax) = BN(x), where eps is small beside the variance."""
    wide = spread(x) > 1e-2
    scaled = normalized(x * a, eps=1e-12 * a * a)
    torch.testing.assert_close(scaled[wide], normalized(x)[wide], rtol=1e-9, atol=1e-9)
    # With the same eps the share of eps in the variance is all that differs.
    same = normalized(x * a)
    share = 1e-12 / spread(x).square() * (1 + 1 / a**2)
    assert ((same - normalized(x)).abs() <= (1e-9 + 20 * share))[wide].all()


@given(batches, st.floats(-1e3, 1e3))
def test_shift_invariance(x, b):
    wide = spread(x) > 1e-2
    # A shift rounds x by up to 1000 · 2⁻⁵³, beside a spread of 0.01.
    torch.testing.assert_close(normalized(x + b)[wide], normalized(x)[wide], rtol=1e-9, atol=1e-9)


@given(batches)
def test_mean_0_and_variance_1(x):
    y = normalized(x)
    dims = [d for d in range(y.dim()) if d != 1]
    wide = (spread(x) > 1e-2).movedim(1, 0).flatten(1)[:, 0]
    # The mean is exact to rounding of x, up to 100 · 2⁻⁵³ beside a spread of 0.01, times n.
    assert (y.mean(dims)[wide].abs() <= 1e-9).all()
    assert ((y.var(dims, correction=0)[wide] - 1).abs() <= 1e-7).all()


@given(batches, st.randoms())
def test_order_of_the_samples_is_no_matter(x, random):
    order = list(range(x.shape[0]))
    random.shuffle(order)
    wide = spread(x) > 1e-2
    torch.testing.assert_close(
        normalized(x[order]), normalized(x)[order], rtol=1e-9, atol=1e-9
    ) if wide.all() else None


@given(batches)
def test_channels_do_not_know_each_other(x):
    y = normalized(x)
    for channel in range(x.shape[1]):
        torch.testing.assert_close(
            normalized(x[:, channel : channel + 1]),
            y[:, channel : channel + 1],
            rtol=1e-9,
            atol=1e-9,
        )


@given(batches)
def test_relu_is_the_positive_part(x):
    y = normalized(x)
    assert torch.equal(normalized(x, activation="relu"), torch.relu(y))


@given(batches)
def test_the_gradient_is_at_right_angles_to_shift_and_scale(x):
    """What follows from both invariances: dx sums to 0, and so does dx · x̂, up to eps."""
    t = torch.as_tensor(x).requires_grad_()
    y = normalized(t)
    (grad,) = torch.autograd.grad(y, t, torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y))
    dims = [d for d in range(y.dim()) if d != 1]
    wide = (spread(x) > 1e-2).movedim(1, 0).flatten(1)[:, 0]
    scale = grad.abs().sum(dims) + 1
    assert (grad.sum(dims).abs() <= 1e-8 * scale)[wide].all()
    assert ((grad * y).sum(dims).abs() <= 1e-7 * scale * y.abs().amax(dims))[wide].all()
