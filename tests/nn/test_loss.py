"""CrossEntropyLoss against torch in float64, its promises, and everything that is handed to torch."""

import copy
import itertools
import math
import multiprocessing
import os
import pickle
import threading
import warnings

import hypothesis
import hypothesis.strategies as st
import mpmath
import pytest
import torch
from torch.nn import functional as F

import ironstep
from ironstep.nn import CrossEntropyLoss, SemiSupervisedGANLoss
from ironstep.nn._loss import _Case
from processes import elsewhere, skip_without

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever torch's test package warns about is not ours
    from torch.testing._internal import common_modules as torch_tests

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
REDUCTIONS = ("mean", "sum", "none")
SMOOTHINGS = ("szegedy", "lecture", "normalized")
# Few classes lie across the lanes of a vector, many along them; 64 is the least of the latter.
CLASSES = (1, 2, 3, 10, 31, 63, 64, 65, 100, 256, 257, 1000)


@pytest.fixture
def native_only(monkeypatch):
    """What the kernel computes fails where torch's operations are asked instead."""

    def refuse(case, logits):
        raise AssertionError("handed to torch")

    monkeypatch.setattr(_Case, "by_torch", refuse)


@pytest.fixture
def handed_over(monkeypatch):
    """The number of times that torch's operations were asked."""
    calls = []
    own = _Case.by_torch
    monkeypatch.setattr(
        _Case, "by_torch", lambda case, logits: calls.append(1) or own(case, logits)
    )
    return calls


def draw(*shape, dtype=torch.float32, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def labels(shape, n_classes, seed=1):
    return torch.randint(n_classes, shape, generator=torch.Generator().manual_seed(seed))


def dense(target, n_classes, smoothing, alpha, ignore_index, weight):
    """The targets as probabilities, classes last, and the weight of each row: one formula a line."""
    y = F.one_hot(target.clamp(min=0, max=n_classes - 1), n_classes).double()
    kept = (target != ignore_index).double()
    t = {
        "szegedy": lambda: (1 - alpha) * y + alpha / n_classes,
        "lecture": lambda: (1 - alpha) * y + alpha / n_classes * (1 - y),
        "normalized": lambda: (1 - alpha) * y + alpha / max(n_classes - 1, 1) * (1 - y),
    }[smoothing]()
    row = torch.ones_like(kept) if weight is None else weight.double()[target.clamp(min=0)]
    return t * kept[..., None], row * kept


def expected(logits, target, weight=None, sample_weight=None, ignore_index=-100, reduction="mean",
             label_smoothing=0.0, smoothing="szegedy"):  # fmt: skip
    """The loss in float64, by a matrix of targets; and the gradient of its sum."""
    x = logits.detach().double().requires_grad_()
    n_classes = x.shape[1] if x.dim() > 1 else x.shape[0]
    options = (n_classes, smoothing, label_smoothing, ignore_index, weight)
    if isinstance(target, tuple):
        (t, rows), (u, others) = (dense(each, *options) for each in target[:2])
        share = torch.as_tensor(target[2], dtype=torch.float64)
        share = share.expand(rows.shape)
        t, rows = (
            share[..., None] * t + (1 - share[..., None]) * u,
            share * rows + (1 - share) * others,
        )
    elif target.shape == x.shape:
        t = target.double().movedim(1, -1) if x.dim() > 1 else target.double()
        t = {"szegedy": (1 - label_smoothing) * t + label_smoothing / n_classes}[smoothing]
        rows = torch.ones(t.shape[:-1], dtype=torch.float64)
    else:
        t, rows = dense(target, *options)
    if weight is not None:
        t = t * weight.double()
    terms = t * F.log_softmax(x.movedim(1, -1) if x.dim() > 1 else x, -1)
    losses = -torch.where(t == 0, 0.0, terms).sum(-1)
    if sample_weight is not None:
        losses, rows = losses * sample_weight.double(), rows * sample_weight.double()
    loss = {"mean": losses.sum() / rows.sum(), "sum": losses.sum(), "none": losses}[reduction]
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return loss.detach(), gradient


def assert_near(ours, theirs, dtype, size=1.0):
    """Within 16 units of rounding of float32 (float64), of what the terms are as large as.

    A row's sum of exponentials has an error of some units, which is that of its logarithm and of the
    probabilities. What has 16 bits is rounded once, its gradient twice: a unit more.
    """
    eps = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    own = torch.finfo(dtype)
    rounded = own.eps if own.bits == 16 else 0.0
    tiny = own.smallest_normal * own.eps  # what has 16 bits may be subnormal
    assert ours.dtype == dtype
    torch.testing.assert_close(
        ours.double(), theirs, rtol=16 * eps + rounded, atol=16 * eps * size + tiny, equal_nan=True
    )


def check(logits, target, sample_weight=None, **options):
    """Value and gradient are those in float64; returns the gradient."""
    theirs, their_gradient = expected(logits, target, sample_weight=sample_weight, **options)
    x = logits.detach().requires_grad_()
    loss = CrossEntropyLoss(**options)(x, target, sample_weight)
    weights = [
        given.max().item() for given in (options.get("weight"), sample_weight) if given is not None
    ]
    size = math.prod(weights)  # of a row's gradient, whose terms may cancel
    if options.get("reduction", "mean") == "mean":
        sums = expected(
            logits, target, sample_weight=sample_weight, **options | {"reduction": "sum"}
        )
        size *= (theirs / sums[0]).nan_to_num(1.0).item()  # one by the divisor
    # A loss adds terms up to the largest difference of logits, each with its weight.
    spread = logits.double().max().item() - logits.double().min().item() + 1
    count = 1 if options.get("reduction") == "none" else x.numel() // x.shape[min(1, x.dim() - 1)]
    assert_near(loss.detach(), theirs, logits.dtype, size * spread * count)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    assert_near(gradient, their_gradient, logits.dtype, size)
    assert gradient.shape == x.shape
    with torch.no_grad():
        assert torch.equal(CrossEntropyLoss(**options)(x, target, sample_weight), loss)
    return gradient


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_classes", CLASSES)
def test_classes_as_in_float64(n_classes, dtype):
    weight = (draw(n_classes, seed=3).abs() + 0.1).to(dtype)
    for rows, reduction in itertools.product((1, 5, 33, 70), REDUCTIONS):
        x, y = draw(rows, n_classes, dtype=dtype, seed=rows), labels((rows,), n_classes)
        ignored = y.masked_fill(labels((rows,), 4) == 0, -7)
        ignored[-1] = y[-1]
        own = draw(rows, seed=5).abs() + 0.1
        for options in (
            {},
            {"label_smoothing": 0.1},
            {"weight": weight},
            {"weight": weight, "label_smoothing": 0.3},
        ):
            check(x, y, reduction=reduction, **options)
            check(x, ignored, own, reduction=reduction, ignore_index=-7, **options)


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("n_classes", [2, 3, 10, 100])
def test_forms_of_smoothing_and_mixup(n_classes, smoothing, dtype):
    x = draw(37, n_classes, dtype=dtype)
    a, b = labels((37,), n_classes), labels((37,), n_classes, seed=2)
    a[3], b[3], b[5] = -100, -100, -100
    weight = (draw(n_classes, seed=3).abs() + 0.1).to(dtype)
    shares = torch.rand(37, generator=torch.Generator().manual_seed(4))
    for alpha, weight, reduction in itertools.product((0.0, 0.2), (None, weight), REDUCTIONS):  # noqa: B020
        options = {"label_smoothing": alpha, "smoothing": smoothing, "weight": weight}
        check(x, a, reduction=reduction, **options)
        check(x, (a, b, 0.3), reduction=reduction, **options)
        check(x, (a, b, shares), shares + 1, reduction=reduction, **options)


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_classes", [1, 3, 64, 100])
def test_probabilities(n_classes, dtype):
    x = draw(41, n_classes, dtype=dtype)
    t = draw(41, n_classes, seed=9).softmax(1).to(dtype)
    weight = (draw(n_classes, seed=3).abs() + 0.1).to(dtype)
    for alpha, w, reduction in itertools.product((0.0, 0.2), (None, weight), REDUCTIONS):
        check(x, t, reduction=reduction, label_smoothing=alpha, weight=w)
        check(x, t, torch.arange(41) * 0.1, reduction=reduction, label_smoothing=alpha, weight=w)


LAYOUTS = {
    "rows apart": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "classes apart": lambda x: x.t().contiguous().t(),
    "every second class": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "every second row": lambda x: x.repeat_interleave(2, 0)[::2],
    "all rows one": lambda x: x[:1].expand(x.shape),
    "all classes one": lambda x: x[:, :1].expand(x.shape),
    "not aligned to a vector": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view_as(x),
}


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("n_classes", [4, 96])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_layouts(layout, n_classes, dtype):
    x = LAYOUTS[layout](draw(45, n_classes, dtype=dtype))
    check(x, labels((45,), n_classes), label_smoothing=0.1)
    t = LAYOUTS[layout](draw(45, n_classes, seed=9).softmax(1).to(dtype))
    check(draw(45, n_classes, dtype=dtype), t)
    check(x, t.contiguous())


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("shape", [(5,), (70,), (3, 5, 1), (3, 5, 40), (2, 4, 6, 7), (2, 70, 3, 2),
                                   (2, 3, 4, 5, 6), (1, 5, 1, 1)], ids=str)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_dimensions_behind_the_classes(shape, dtype):
    n_classes, rows = (shape[0], ()) if len(shape) == 1 else (shape[1], shape[:1] + shape[2:])
    x, y = draw(*shape, dtype=dtype), labels(rows, n_classes)
    t = draw(*shape, seed=9).softmax(min(1, len(shape) - 1)).to(dtype)
    for reduction in REDUCTIONS:
        check(x, y, reduction=reduction, label_smoothing=0.1)
        check(x, (y, y.roll(1), torch.full(rows, 0.25)), torch.full(rows, 2.0), reduction=reduction)
        check(x, t, reduction=reduction)
        if len(shape) > 2:
            check(x.transpose(0, 2).contiguous().transpose(0, 2), y, reduction=reduction)
        if len(shape) > 3:
            check(x.transpose(2, 3), y.transpose(1, 2), reduction=reduction)
            check(x.movedim(1, -1).contiguous().movedim(-1, 1), y, reduction=reduction)
            check(x, t.transpose(2, 3).contiguous().transpose(2, 3), reduction=reduction)


def test_rows_as_by_mpmath():
    x = torch.tensor([[0.5, -1.25, 3.0], [200.0, 100.0, 201.0], [-1e-3, 0.0, 1e-3]])
    y = torch.tensor([1, 0, 2])
    for dtype, digits in ((torch.float64, 15), (torch.float32, 6)):
        losses = CrossEntropyLoss(reduction="none")(x.to(dtype), y)
        with mpmath.workdps(40):
            for row, label, loss in zip(x.to(dtype), y, losses, strict=True):
                logits = [mpmath.mpf(value) for value in row.tolist()]
                exact = mpmath.log(sum(map(mpmath.exp, logits))) - logits[label]
                assert abs(loss.item() - exact) <= 10.0**-digits * max(1, exact)


INF, NAN = float("inf"), float("nan")
EXTREME = {
    "largest": lambda m: [m, -m, 0.0],
    "all largest": lambda m: [m, m, m],
    "all least": lambda m: [-m, -m, -m],
    "-inf": lambda m: [0.0, -INF, 1.0],
    "all -inf": lambda m: [-INF] * 3,
    "inf": lambda m: [0.0, INF, 1.0],
    "two inf": lambda m: [INF, INF, 1.0],
    "both": lambda m: [INF, -INF, 1.0],
    "nan": lambda m: [0.0, NAN, 1.0],
    "all nan": lambda m: [NAN] * 3,
    "far": lambda m: [0.0, -1e4, -2e4],
    "subnormal": lambda m: [1e-40, -1e-42, 0.0],
    "sure": lambda m: [90.0, 0.0, -90.0],
}


@pytest.mark.usefixtures("native_only")
@pytest.mark.parametrize("n_classes", [3, 100])
@pytest.mark.parametrize("name", EXTREME)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_extreme_logits_as_torch(dtype, name, n_classes):
    """As torch: infinite and NaN where it is, for each label and target.

    What has 16 bits is computed in 32, where torch rounds log-probabilities and their sums to infinity.
    """
    computed = torch.float64 if dtype == torch.float64 else torch.float32
    row = torch.tensor(EXTREME[name](torch.finfo(dtype).max), dtype=torch.float64).to(dtype)
    x = torch.cat([row, row[1:2].expand(n_classes - 3)]).expand(3, n_classes).clone()
    weight = torch.ones(n_classes, dtype=dtype)
    weight[1] = 0
    for target, (alpha, w) in itertools.product(
        (torch.arange(3), torch.tensor([0, -100, 1]), torch.eye(n_classes)[:3].to(dtype)),
        ((0.0, False), (0.25, False), (0.0, True)),
    ):
        answers = []
        for cls, as_type in ((CrossEntropyLoss, dtype), (torch.nn.CrossEntropyLoss, computed)):
            z = x.to(as_type, copy=True).requires_grad_()
            given = target.to(as_type) if target.is_floating_point() else target
            loss = cls(
                reduction="none", label_smoothing=alpha, weight=weight.to(as_type) if w else None
            )(z, given)
            loss.backward(torch.ones_like(loss))
            answers.append((loss.detach().to(dtype), z.grad.to(dtype)))
        eps = torch.finfo(dtype).eps
        for ours, theirs in zip(*answers, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=8 * eps, atol=8 * eps, equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n_classes", [3, 100])
def test_all_ignored_as_torch(dtype, n_classes):
    for options in ({}, {"label_smoothing": 0.1}, {"reduction": "sum"}, {"reduction": "none"}):
        answers = []
        for cls in (CrossEntropyLoss, torch.nn.CrossEntropyLoss):
            x = draw(4, n_classes, dtype=dtype).requires_grad_()
            loss = cls(**options)(x, torch.full((4,), -100))
            loss.sum().backward()
            answers.append((loss.detach(), x.grad))
        for ours, theirs in zip(*answers, strict=True):
            assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1))
    assert CrossEntropyLoss()(draw(4, n_classes), torch.full((4,), -100)).isnan()


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (2, 3, 0)])
def test_no_row_as_torch(shape, reduction):
    answers = []
    for cls in (CrossEntropyLoss, torch.nn.CrossEntropyLoss):
        x = torch.zeros(shape, requires_grad=True)
        loss = cls(reduction=reduction)(x, torch.zeros(shape[:1] + shape[2:], dtype=torch.int64))
        loss.sum().backward()
        answers.append((loss.detach().nan_to_num(-1), x.grad))
    assert torch.equal(answers[0][0], answers[1][0])
    assert torch.equal(answers[0][1], answers[1][1])


# ---- derivatives


CONFIGS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.2},
    "lecture": {"label_smoothing": 0.2, "smoothing": "lecture"},
    "weighted": {"weight": torch.tensor([0.5, 1.0, 2.0, 0.25], dtype=torch.float64)},
    "sum": {"reduction": "sum"},
    "none": {"reduction": "none"},
}


def targets_of(rows=6, n_classes=4):
    y = labels((rows,), n_classes)
    y[2] = -100
    z = labels((rows,), n_classes, seed=2)
    return {
        "classes": y,
        "mixup": (y, z, 0.3),
        "probabilities": draw(rows, n_classes, dtype=torch.float64).softmax(1),
    }


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", ["classes", "mixup", "probabilities"])
def test_first_and_second_derivatives(kind, config):
    loss = CrossEntropyLoss(**CONFIGS[config])
    x = draw(6, 4, dtype=torch.float64, scale=1).requires_grad_()
    own = draw(6, dtype=torch.float64).abs()
    for sample_weight in (None, own):

        def function(x, sample_weight=sample_weight):
            return loss(x, targets_of()[kind], sample_weight)

        assert torch.autograd.gradcheck(function, (x,), check_batched_grad=True)
        assert torch.autograd.gradgradcheck(function, (x,), check_batched_grad=True)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:FutureWarning"
)  # torch's own use
@pytest.mark.parametrize("kind", ["classes", "mixup", "probabilities"])
def test_transforms_as_torch(kind, handed_over):
    ours, theirs = CrossEntropyLoss(), torch.nn.CrossEntropyLoss()
    x = draw(6, 4, dtype=torch.float64)
    target = targets_of()[kind]

    def other(x, target):
        if isinstance(target, tuple):  # no torch for it: rows share a divisor
            a, b, share = target
            sums = [F.cross_entropy(x, each, reduction="sum") for each in (a, b)]
            counts = [(each != -100).sum().double() for each in (a, b)]
            return (share * sums[0] + (1 - share) * sums[1]) / (
                share * counts[0] + (1 - share) * counts[1]
            )
        return theirs(x, target)

    near = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)  # noqa: E731
    functions = [lambda x, f=f: f(x, target) for f in (ours, other)]
    near(*(torch.func.grad(f)(x) for f in functions))
    near(*(torch.func.hessian(f)(x) for f in functions))
    tangent = draw(6, 4, dtype=torch.float64, seed=8)
    near(*(torch.func.jvp(f, (x,), (tangent,))[1] for f in functions))
    near(*(torch.func.vmap(f)(torch.stack([x, 2 * x])) for f in functions))
    assert handed_over

    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, tangent)
        near(*(torch.autograd.forward_ad.unpack_dual(f(dual)).tangent for f in functions))
    for vectorize in (False, True):
        near(*(torch.autograd.functional.hessian(f, x, vectorize=vectorize) for f in functions))
        near(*(torch.autograd.functional.jacobian(f, x, vectorize=vectorize) for f in functions))


def test_jacobian_of_rows_in_batches():
    x, y = draw(6, 4, dtype=torch.float64), labels((6,), 4)
    jacobians = [
        torch.autograd.functional.jacobian(lambda x, f=f: f(x, y), x, vectorize=True)
        for f in (CrossEntropyLoss(reduction="none"), torch.nn.CrossEntropyLoss(reduction="none"))
    ]
    torch.testing.assert_close(*jacobians)


def test_probabilities_with_a_gradient_of_their_own(handed_over):
    x = draw(5, 3, dtype=torch.float64).requires_grad_()
    t = draw(5, 3, dtype=torch.float64, seed=1).softmax(1).requires_grad_()
    assert torch.autograd.gradcheck(CrossEntropyLoss(label_smoothing=0.1), (x, t))
    assert handed_over


def test_share_and_sample_weight_with_a_gradient_of_their_own():
    x = draw(5, 3, dtype=torch.float64).requires_grad_()
    a, b = labels((5,), 3), labels((5,), 3, seed=2)
    share = torch.rand(5, dtype=torch.float64).requires_grad_()
    own = torch.rand(5, dtype=torch.float64).requires_grad_()
    loss = CrossEntropyLoss(label_smoothing=0.1, smoothing="lecture")
    assert torch.autograd.gradcheck(lambda x, s, w: loss(x, (a, b, s), w), (x, share, own))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_backward_twice_and_scaled(dtype):
    """A gradient that is kept is not what an earlier backward has scaled, nor what it has returned."""
    tiny = 2.0**-22 if dtype == torch.float16 else 0.0
    x, y = draw(9, 5, dtype=dtype).requires_grad_(), labels((9,), 5)
    loss = CrossEntropyLoss()(x, y)
    gradients = [
        torch.autograd.grad(loss, x, torch.tensor(scale, dtype=dtype), retain_graph=True)[0]
        for scale in (1.0, 4.0, 1.0, 0.5)
    ]
    kept = [gradient.clone() for gradient in gradients]
    (last,) = torch.autograd.grad(loss * 2, x)
    for gradient, copy_, scale in zip(gradients, kept, (1.0, 4.0, 1.0, 0.5), strict=True):
        assert torch.equal(gradient, copy_)
        # By powers of two, but what is subnormal in 16 bits is rounded once more.
        torch.testing.assert_close(gradient, kept[0] * scale, rtol=0, atol=tiny)
    torch.testing.assert_close(last, kept[0] * 2, rtol=0, atol=tiny)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, x)


def test_float16_stands_a_loss_scale():
    """Divided by many rows before it is scaled, the gradient would be 0 in 16 bits."""
    x = torch.zeros(60_000, 10, dtype=torch.float16, requires_grad=True)
    y = labels((60_000,), 10)
    (CrossEntropyLoss()(x, y) * 2.0**15).backward()
    _, gradient = expected(x, y)
    torch.testing.assert_close(x.grad.double(), gradient * 2.0**15, rtol=1e-3, atol=0)


def test_logits_may_be_written_after_the_loss():
    """As with torch, unless the second derivative needs them."""
    x, y = draw(5, 3).requires_grad_(), labels((5,), 3)
    for cls in (CrossEntropyLoss, torch.nn.CrossEntropyLoss):
        logits = x * 2
        loss = cls()(logits, y)
        logits.zero_()
        torch.autograd.grad(loss, x, retain_graph=True)
    logits = x * 2
    loss = CrossEntropyLoss()(logits, y)
    logits.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_a_loss_that_is_kept_keeps_no_logits():
    import weakref

    x, y = draw(5, 3).requires_grad_(), labels((5,), 3)
    logits = x * 2
    alive = weakref.ref(logits)
    loss = CrossEntropyLoss()(logits, y)
    loss.backward()
    del logits
    assert alive() is None
    assert loss.grad_fn is not None


# ---- properties


@hypothesis.given(
    st.integers(1, 70), st.sampled_from([1, 2, 7, 64, 90]), st.integers(0, 2**31), st.data()
)
@hypothesis.settings(max_examples=60)
def test_properties(rows, n_classes, seed, data):
    x = draw(rows, n_classes, dtype=torch.float64, seed=seed)
    y = labels((rows,), n_classes, seed=seed)
    alpha = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    smoothing = data.draw(st.sampled_from(SMOOTHINGS if n_classes > 1 else SMOOTHINGS[:2]))
    loss = CrossEntropyLoss(label_smoothing=alpha, smoothing=smoothing, reduction="none")

    def both(x, target):
        x = x.clone().requires_grad_()
        value = loss(x, target)
        value.sum().backward()
        return value.detach(), x.grad

    value, gradient = both(x, y)
    near = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)  # noqa: E731
    # The same added to all logits of a row changes nothing.
    shifted = both(x + draw(rows, 1, dtype=torch.float64, seed=seed + 1), y)
    near(shifted[0], value)
    near(shifted[1], gradient)
    # Classes by other numbers.
    order = torch.randperm(n_classes, generator=torch.Generator().manual_seed(seed))
    permuted = both(x[:, order], order.argsort()[y])
    near(permuted[0], value)
    near(permuted[1], gradient[:, order])
    # Σ (T·p - t) = 0
    near(gradient.sum(1), torch.zeros(rows, dtype=torch.float64))
    # A label mixed with itself, in any share.
    share = data.draw(st.sampled_from([0.0, 0.25, 0.3, 1.0]))
    mixed = both(x, (y, y, share))
    near(mixed[0], value)
    near(mixed[1], gradient)
    # Rows have nothing to do with each other, to the bit.
    one = int(torch.randint(rows, ()))
    alone = both(x[one : one + 1], y[one : one + 1])
    assert torch.equal(alone[0][0], value[one])
    assert torch.equal(alone[1][0], gradient[one])


# ---- torch's own cases


def module_cases():
    info = next(i for i in torch_tests.module_db if i.module_cls is torch.nn.CrossEntropyLoss)
    for dtype, requires_grad in itertools.product(DTYPES[:2], (False, True)):
        torch.manual_seed(0)
        for case in info.module_inputs_func(info, "cpu", dtype, requires_grad, training=True):
            label = f"{case.desc}-{str(dtype).removeprefix('torch.')}-{requires_grad}"
            yield pytest.param(case, id=label)


@pytest.mark.parametrize("case", list(module_cases()))
def test_torchs_case(case):
    made, given = case.constructor_input, case.forward_input
    ours = CrossEntropyLoss(*made.args, **made.kwargs)
    theirs = torch.nn.CrossEntropyLoss(*made.args, **made.kwargs)
    loss, other = ours(*given.args, **given.kwargs), theirs(*given.args, **given.kwargs)
    torch.testing.assert_close(loss, other, equal_nan=True)
    leaf = given.args[0]
    if not leaf.requires_grad:  # torch's references copy, which targets with a history cannot be
        reference = case.reference_fn(ours, *given.args, **given.kwargs)
        torch.testing.assert_close(loss, reference, equal_nan=True)  # all rows may be ignored
    else:
        torch.testing.assert_close(
            *(torch.autograd.grad(each.sum(), leaf)[0] for each in (loss, other))
        )


def test_torchs_errors():
    info = next(i for i in torch_tests.module_db if i.module_cls is torch.nn.CrossEntropyLoss)
    if info.module_error_inputs_func is None:
        pytest.skip("this torch has no cases of errors")
    cases = info.module_error_inputs_func(info, "cpu", torch.float32, False, training=True)
    assert cases
    for case in cases:
        made = case.module_error_input.constructor_input
        given = case.module_error_input.forward_input
        with pytest.raises(case.error_type, match=case.error_regex):
            CrossEntropyLoss(*made.args, **made.kwargs)(*given.args, **given.kwargs)


# ---- a subclass of torch's


def test_module_of_torch_becomes_ours_and_back():
    weight = torch.tensor([1.0, 2.0, 3.0])
    theirs = torch.nn.CrossEntropyLoss(weight, label_smoothing=0.1)
    x, y = draw(5, 3), labels((5,), 3)
    value = theirs(x, y)
    theirs.__class__ = CrossEntropyLoss
    torch.testing.assert_close(theirs(x, y), value)
    ours = CrossEntropyLoss(weight, label_smoothing=0.1, smoothing="lecture")
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for made in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert made.smoothing == "lecture"
        assert torch.equal(made(x, y), ours(x, y))
    assert "lecture" in repr(ours)
    assert isinstance(ours, torch.nn.CrossEntropyLoss)


def test_older_arguments():
    with pytest.warns(UserWarning, match="reduction='sum'"):
        assert CrossEntropyLoss(size_average=False).reduction == "sum"
    with pytest.warns(UserWarning, match="reduction='none'"):
        assert CrossEntropyLoss(None, None, -1, False).reduction == "none"


def test_compiles(handed_over):
    torch._dynamo.reset()
    x, y = draw(5, 3).requires_grad_(), labels((5,), 3)
    for smoothing, target in (("szegedy", y), ("lecture", y), ("lecture", (y, y.roll(1), 0.3))):
        loss = CrossEntropyLoss(label_smoothing=0.1, smoothing=smoothing)
        compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
        value = compiled(x, target)
        torch.testing.assert_close(value, loss(x, target))
        gradients = [torch.autograd.grad(each, x)[0] for each in (value, loss(x, target))]
        torch.testing.assert_close(*gradients)


def test_export_fx_and_jit_trace():
    x, y = draw(5, 3), labels((5,), 3)
    loss = CrossEntropyLoss(label_smoothing=0.1)
    value = loss(x, y)
    torch.testing.assert_close(torch.export.export(loss, (x, y)).module()(x, y), value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch: jit is deprecated
        traced = torch.jit.trace(loss, (x, y))
    torch.testing.assert_close(traced(x * 2, y), loss(x * 2, y))


@pytest.mark.parametrize("target", ["classes", "mixup"])
def test_what_is_foreign_is_handed_over(target, handed_over):
    class Subclass(torch.Tensor):
        pass

    x, y = draw(6, 4), targets_of()[target]
    loss = CrossEntropyLoss(label_smoothing=0.1, smoothing="lecture")
    value = loss(x, y)
    assert not handed_over
    torch.testing.assert_close(loss(x.as_subclass(Subclass), y).as_subclass(torch.Tensor), value)
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(x.bfloat16(), y).dtype == torch.float32
    with torch.device("cpu"):
        torch.testing.assert_close(loss(x, y), value)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        assert loss(x, y).shape == ()
    assert len(handed_over) == 4
    meta = [each.to("meta") if isinstance(each, torch.Tensor) else each for each in (
        y if isinstance(y, tuple) else (y,))]  # fmt: skip
    assert loss(x.to("meta"), tuple(meta) if len(meta) > 1 else meta[0]).device.type == "meta"
    negated = torch.complex(x, x).conj().imag
    assert negated.is_neg()
    torch.testing.assert_close(loss(negated, y), loss(-x, y))


def test_inference_tensors():
    with torch.inference_mode():
        x, y = draw(6, 4), labels((6,), 4)
        value = CrossEntropyLoss()(x, y)
    torch.testing.assert_close(CrossEntropyLoss()(x.clone(), y.clone()), value)


# ---- bad input


def test_a_target_that_is_no_class():
    x = draw(9, 4).requires_grad_()
    y = labels((9,), 4)
    for bad in (4, -1, 2**40, -(2**63)):
        wrong = y.clone()
        wrong[7] = bad
        with pytest.raises(IndexError, match=f"Target {bad} is out of bounds: target of row 7"):
            CrossEntropyLoss()(x, wrong)
        with pytest.raises(IndexError, match=r"target\[1\] of row 7; a class below 4"):
            CrossEntropyLoss()(x, (y, wrong, 0.5))
        assert CrossEntropyLoss(ignore_index=bad)(x, wrong).isfinite()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda x, y: CrossEntropyLoss(smoothing="other"), ValueError, "smoothing: got 'other'"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y)), ValueError, "target: got 2 items"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y, 1.5)), ValueError, r"target\[2\]: got 1.5"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y, "a")), ValueError, r"target\[2\]: got 'a'"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y, torch.tensor(1.5))), ValueError,
         r"target\[2\]: got values from 1.5 to 1.5"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y, torch.linspace(-1, 1, 6))), ValueError,
         r"target\[2\]: got values from -1.0"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y, x[:, 0] * torch.nan)), ValueError,
         r"target\[2\]: got values from nan"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y[:3], 0.5)), ValueError, r"target\[1\]: got shape"),
        (lambda x, y: CrossEntropyLoss()(x, (y, [1], 0.5)), TypeError, r"target\[1\]: got list"),
        (lambda x, y: CrossEntropyLoss()(x, (y, y, x[:3, 0])), ValueError, r"target\[2\]: got shape"),
        (lambda x, y: CrossEntropyLoss()(x, y, y[:3]), ValueError, "sample_weight: got shape"),
        (lambda x, y: CrossEntropyLoss()(x, y, 2.0), TypeError, "sample_weight: got float"),
        (lambda x, y: CrossEntropyLoss(label_smoothing=1.5)(x, y), RuntimeError, "label_smoothing"),
        (lambda x, y: CrossEntropyLoss(label_smoothing=1.5, smoothing="lecture")(x, y), ValueError,
         "label_smoothing"),
        (lambda x, y: CrossEntropyLoss(reduction="all")(x, y), ValueError, "all is not a valid"),
        (lambda x, y: CrossEntropyLoss(reduction="all")(x, y, x[:, 0]), ValueError, "all is not"),
        (lambda x, y: CrossEntropyLoss()(x, y[:3]), ValueError, "batch_size"),
        (lambda x, y: CrossEntropyLoss()(x, y.int()), RuntimeError, "Int"),
        (lambda x, y: CrossEntropyLoss(x[0, :3])(x, y), RuntimeError, "weight"),
        (lambda x, y: CrossEntropyLoss(x[0].double())(x, y), RuntimeError, "Float|Double"),
        (lambda x, y: CrossEntropyLoss(ignore_index=1)(x, x.softmax(1)), RuntimeError, "ignore_index"),
        (lambda x, y: CrossEntropyLoss(label_smoothing=0.1, smoothing="normalized")(x[:, :1], y * 0),
         ValueError, "single class"),
    ],
)  # fmt: skip
def test_bad_input(make, error, text):
    with pytest.raises(error, match=text):
        make(draw(6, 4), labels((6,), 4))


@pytest.mark.parametrize("which", ["input", "target"])
def test_a_storage_that_is_gone_is_torchs_matter(which, handed_over):
    x, y = draw(6, 4), labels((6,), 4)
    {"input": x, "target": y}[which].untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="not allocated"):
        CrossEntropyLoss()(x, y)
    assert handed_over


@pytest.mark.parametrize("weight", [None, torch.linspace(0.5, 1, 100)])
def test_smoothing_where_a_sum_over_classes_has_not_the_range(weight):
    x, y = torch.zeros(3, 100), torch.zeros(3, dtype=torch.int64)
    x[:, 0] = torch.finfo(torch.float32).max / 2
    loss = CrossEntropyLoss(weight, label_smoothing=0.01)(x, y)
    assert loss.isfinite()  # torch's own is infinite
    torch.testing.assert_close(loss.double(), expected(x, y, weight, label_smoothing=0.01)[0])


# ---- the same bits


def digest():
    """Losses and gradients of all kinds, as bytes in hexadecimal."""
    import hashlib

    bits = hashlib.blake2b(digest_size=16)
    for dtype, (shape, n_classes) in itertools.product(
        DTYPES, (((700, 10), 10), ((300, 65), 65), ((130, 300), 300), ((3, 7, 40, 41), 7))
    ):
        x = draw(*shape, dtype=dtype)
        rows = shape[:1] + shape[2:]
        y, z = labels(rows, n_classes), labels(rows, n_classes, seed=2)
        weight = (draw(n_classes).abs() + 0.1).to(dtype)
        for target, reduction in itertools.product(
            (y, (y, z, 0.3), draw(*shape, seed=4).softmax(1).to(dtype)), REDUCTIONS
        ):
            leaf = x.clone().requires_grad_()
            loss = CrossEntropyLoss(weight, reduction=reduction, label_smoothing=0.1)(leaf, target)
            loss.sum().backward()
            for tensor in (loss.detach(), leaf.grad):
                bits.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return bits.hexdigest()


@pytest.fixture(scope="module")
def here():
    return digest()


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(here, threads):
    before = ironstep.get_num_threads()
    ironstep.set_num_threads(threads)
    try:
        assert digest() == here
    finally:
        ironstep.set_num_threads(before)


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bits(here, isa):
    skip_without(isa)
    code = "import json, nn.test_loss as t; print(json.dumps(t.digest()))"
    assert elsewhere(code, IRONSTEP_ISA=isa) == here


def _in_child(x, y, queue):
    queue.put(ironstep.functional.cross_entropy(x, y)[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_computes_the_same():
    # Arrays, as torch's own threads hang in a forked child.
    x, y = draw(4000, 10).numpy(), labels((4000,), 10).numpy()
    value = ironstep.functional.cross_entropy(x, y)[0]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(x, y, queue), daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == value


def test_threads_side_by_side():
    x, y = draw(3000, 10), labels((3000,), 10)
    value = CrossEntropyLoss()(x, y)
    wrong = []

    def work():
        for _ in range(20):
            leaf = x.clone().requires_grad_()
            loss = CrossEntropyLoss()(leaf, y)
            loss.backward()
            if not torch.equal(loss, value):
                wrong.append(loss)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- the semi-supervised GAN


def gan_terms(logits, target=None):
    """-log of the probabilities of K + 1 classes, the last of which is the generated one's, in mpmath."""
    supervised, real, fake = [], [], []
    with mpmath.workdps(50):
        for i, row in enumerate(logits.tolist()):
            exps = [mpmath.exp(mpmath.mpf(value)) for value in (*row, 0.0)]
            total = sum(exps)
            p_real = sum(exps[:-1]) / total
            real.append(-mpmath.log(p_real))
            fake.append(-mpmath.log(exps[-1] / total))
            if target is not None:
                supervised.append(-mpmath.log(exps[target[i]] / sum(exps[:-1])))
    return [float(sum(terms) / len(terms)) if terms else None for terms in (supervised, real, fake)]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 300.0])
def test_semi_supervised_gan_by_the_probabilities_of_one_class_more(scale):
    logits, y = draw(5, 3, dtype=torch.float64, scale=scale), labels((5,), 3)
    supervised, real, fake = gan_terms(logits, y)
    loss = SemiSupervisedGANLoss()
    for ours, exact in (
        (loss.supervised(logits, y), supervised),
        (loss.unlabelled(logits), real),
        (loss.generator(logits), real),
        (loss.fake(logits), fake),
        (loss(logits, y, logits, logits), supervised + real + fake),
    ):
        # logsumexp's own error is one unit of its size.
        assert ours.item() == pytest.approx(exact, rel=1e-13, abs=1e-15 * scale)


def test_semi_supervised_gan_is_finite_and_has_derivatives():
    loss = SemiSupervisedGANLoss(label_smoothing=0.1)
    for value in (1e4, -1e4, 1e30, -1e30):
        logits = torch.full((2, 3), value, requires_grad=True)
        total = loss(logits, torch.tensor([0, 1]), logits, logits) + loss.generator(logits)
        total.backward()
        assert total.isfinite()
        assert logits.grad.isfinite().all()
    x = draw(4, 3, dtype=torch.float64).requires_grad_()
    y = labels((4,), 3)
    assert torch.autograd.gradcheck(lambda x: loss(x, y, x * 2, x.square()), (x,))
    assert torch.autograd.gradgradcheck(lambda x: loss(x, y, x * 2, x.square()), (x,))


def test_feature_matching():
    real, fake = draw(4, 3, dtype=torch.float64), draw(6, 3, dtype=torch.float64, seed=1)
    fake.requires_grad_()
    loss = SemiSupervisedGANLoss().feature_matching(real, fake)
    difference = real.mean(0) - fake.mean(0)
    assert loss.item() == pytest.approx((difference**2).sum().item(), rel=1e-14)
    assert torch.autograd.gradcheck(
        lambda fake: SemiSupervisedGANLoss().feature_matching(real, fake), (fake,)
    )
