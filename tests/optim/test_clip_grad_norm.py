"""`clip_grad_norm=` is clip_grad_norm_ over all groups and then the step, without writing a gradient."""

import copy

import pytest
import torch
from torch import nn

import oracles
from optim.cases import (
    FULL,
    IS_TORCH,
    assert_handed_over,
    assert_native,
    assert_same,
    assert_same_state,
    each_config,
    each_dtype,
    each_name,
    randn,
    random_params,
    reference,
    sparse_norms,
    subject,
    suited,
)

if IS_TORCH:
    pytest.skip("torch has no clipping in its step", allow_module_level=True)

SHAPES = ((), (7,), (3, 5), (64, 33), (0,), (5000,))
INF, NAN = float("inf"), float("nan")


def sides(name, max_norm, dtype=torch.float32, make=None, groups=False, **kwargs):
    """Ours with clipping, torch's without, on equal parameters."""
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        params = make() if make else random_params(SHAPES, dtype)
        made.append(
            [{"params": params[:2]}, {"params": params[2:], "lr": 0.002}] if groups else params
        )
    kwargs = kwargs or suited(name, FULL[name], dtype)
    ours = subject(name)(made[0], clip_grad_norm=max_norm, **kwargs)
    theirs = reference(name)(made[1], foreach=False, **kwargs)
    return ours, theirs


def params_of(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"]]


def step_both(ours, theirs, max_norm, grads=None):
    mine, others = params_of(ours), params_of(theirs)
    grads = grads or [randn(*p.shape, dtype=p.dtype) for p in mine]
    for p, q, grad in zip(mine, others, grads, strict=True):
        p.grad = None if grad is None else grad.clone()
        q.grad = None if grad is None else grad.clone()
    ours.step()
    norm = nn.utils.clip_grad_norm_(others, max_norm)
    theirs.step()
    for p, grad in zip(mine, grads, strict=True):
        if grad is not None:
            assert torch.equal(p.grad, grad) or p.grad.isnan().any()
    return norm


def check(ours, theirs, ulps=8):
    mine, others = params_of(ours), params_of(theirs)
    for p, q in zip(mine, others, strict=True):
        assert_same(p, q, ulps, size=1.0)
    assert_same_state(ours, theirs, mine, others, ulps)


@pytest.mark.parametrize("max_norm", [0.5, 20.0, 1e6], ids=["always", "sometimes", "never"])
@each_config
def test_equals_clipping_and_stepping(name, kwargs, max_norm):
    ours, theirs = sides(name, max_norm, **kwargs)
    for _ in range(4):
        norm = step_both(ours, theirs, max_norm)
        assert_native(ours, len(SHAPES))
        assert ours.last_grad_norm.dim() == 0
        assert ours.last_grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    check(ours, theirs, ulps=32)


@each_dtype
@each_name
def test_one_norm_for_all_groups_and_types(name, dtype):
    """Also where the groups have different options and the tensors different types."""

    def make():
        return [
            nn.Parameter(randn(9, 5, dtype=t)) for t in (dtype, torch.float32, torch.float64, dtype)
        ]

    ours, theirs = sides(
        name, 0.5, make=make, groups=True, **suited(name, FULL[name], torch.float16)
    )
    for _ in range(3):
        mine, others = params_of(ours), params_of(theirs)
        grads = [randn(9, 5, dtype=p.dtype) for p in mine]
        for p, q, grad in zip(mine, others, grads, strict=True):
            p.grad = grad.clone()
            q.grad = grad.clone()
        ours.step()
        _, exact = oracles.clipped([g.double().numpy() for g in grads], 0.5)
        assert ours.last_grad_norm.item() == pytest.approx(exact, rel=1e-6)
        # torch's own clipping rounds the gradients to their type and its norm to the first one's.
        for q, grad in zip(others, grads, strict=True):
            q.grad = (grad.double() * (0.5 / (exact + 1e-6))).to(grad.dtype)
        theirs.step()
    assert_native(ours, 4)
    for p, q in zip(params_of(ours), params_of(theirs), strict=True):
        assert_same(p, q, ulps=2e9 if p.dtype == torch.float64 else 16, size=1.0)


@each_name
def test_the_norm_is_right_to_the_last_digits(name):
    """Many elements of very different size, added up in double precision."""
    params = random_params(((200_000,), (3,), (501, 7)))
    optimizer = subject(name)(params, clip_grad_norm=1.0)
    for p, size in zip(params, (1.0, 1e3, 1e-3), strict=True):
        p.grad = size * randn(*p.shape)
    optimizer.step()
    exact = torch.cat([p.grad.double().flatten() for p in params]).norm().item()
    assert optimizer.last_grad_norm.item() == pytest.approx(exact, rel=2e-7)


@pytest.mark.parametrize("size", [1e-30, 1e-22, 1e22, 1e30])
def test_the_norm_neither_overflows_nor_vanishes(size):
    """Squares of float32 numbers leave float32; torch's norm of 1e-30 is zero."""
    p = nn.Parameter(torch.zeros(100))
    optimizer = subject("SGD")([p], lr=1.0, clip_grad_norm=1.0)
    p.grad = torch.full((100,), size)
    optimizer.step()
    assert optimizer.last_grad_norm.item() == pytest.approx(10 * size, rel=1e-5)
    expected = -size * min(1.0, 1 / (10 * size + 1e-6))
    assert p[0].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bad", [INF, -INF, NAN])
@each_name
def test_non_finite_norms_are_treated_as_by_torch(name, bad):
    """An infinite norm makes every finite gradient zero and the infinite ones NaN; NaN makes all NaN."""
    ours, theirs = sides(name, 1.0)
    step_both(ours, theirs, 1.0)
    grads = [randn(*shape) for shape in SHAPES]
    grads[1][3] = bad
    norm = step_both(ours, theirs, 1.0, grads)
    assert torch.equal(ours.last_grad_norm.isnan(), norm.isnan())
    assert torch.equal(ours.last_grad_norm.isinf(), norm.isinf())
    check(ours, theirs)


@each_name
def test_zero_gradients_have_norm_zero(name):
    ours, theirs = sides(name, 1.0)
    norm = step_both(ours, theirs, 1.0, [torch.zeros(shape) for shape in SHAPES])
    assert norm.item() == ours.last_grad_norm.item() == 0
    check(ours, theirs)


@each_name
def test_a_bound_of_zero_stops_all_movement(name):
    ours, theirs = sides(name, 0.0, lr=0.1)
    step_both(ours, theirs, 0.0)
    check(ours, theirs)


@each_name
def test_parameters_without_gradient_count_nothing(name):
    ours, theirs = sides(name, 0.5)
    for _ in range(2):
        grads = [randn(*shape) if i % 2 else None for i, shape in enumerate(SHAPES)]
        norm = step_both(ours, theirs, 0.5, grads)
        assert ours.last_grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    check(ours, theirs)


@each_name
def test_without_any_gradient_the_norm_is_zero(name):
    ours, _ = sides(name, 0.5)
    ours.step()
    assert ours.last_grad_norm.item() == 0.0


@each_name
def test_without_clipping_there_is_no_norm(name):
    ours, _ = sides(name, None)
    for p in params_of(ours):
        p.grad = torch.ones_like(p)
    ours.step()
    assert ours.last_grad_norm is None
    ours.clip_grad_norm = 1.0
    ours.step()
    assert ours.last_grad_norm is not None
    ours.clip_grad_norm = None
    ours.step()
    assert ours.last_grad_norm is None


class Labelled(nn.Parameter):
    pass


def foreign():
    """One native parameter, one that goes to torch, one more native."""
    return [nn.Parameter(randn(4)), Labelled(randn(3, 2)), nn.Parameter(randn(5))]


@pytest.mark.parametrize("groups", [False, True], ids=["one-group", "two-groups"])
@each_name
def test_parameters_handed_to_torch_share_the_norm(name, groups):
    ours, theirs = sides(name, 0.7, make=foreign, groups=groups)
    for _ in range(3):
        norm = step_both(ours, theirs, 0.7)
        assert_handed_over(ours, {(0, 1): "Labelled"}, native=2)
        assert ours.last_grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    check(ours, theirs)


@each_name
def test_backend_torch_clips_too(name):
    ours, theirs = sides(name, 0.7)
    ours.backend = "torch"
    for _ in range(3):
        norm = step_both(ours, theirs, 0.7)
        assert ours.last_grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    assert ours.last_dispatch.native == 0
    check(ours, theirs)


@pytest.mark.parametrize("bad", [INF, NAN])
@each_name
def test_a_bad_gradient_on_either_side_reaches_both(name, bad):
    for place in (0, 1):
        ours, theirs = sides(name, 1.0, make=foreign)
        grads = [randn(4), randn(3, 2), randn(5)]
        grads[place].view(-1)[1] = bad
        step_both(ours, theirs, 1.0, grads)
        check(ours, theirs)


@sparse_norms
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_gradients_count_in_the_norm(name):
    with torch.sparse.check_sparse_tensor_invariants():
        results = []
        for cls, options in ((subject(name), {"clip_grad_norm": 0.5}), (reference(name), {})):
            torch.manual_seed(0)
            dense, embedding = nn.Parameter(randn(4)), nn.Parameter(randn(6, 3))
            dense.grad = randn(4)
            rows = torch.tensor([[0, 2, 5]])
            embedding.grad = torch.sparse_coo_tensor(rows, randn(3, 3), (6, 3)).coalesce()
            optimizer = cls([dense, embedding], lr=0.1, **options)
            if not options:
                norm = torch.cat([dense.grad, embedding.grad.to_dense().flatten()]).norm()
                for p in (dense, embedding):
                    p.grad = p.grad * (0.5 / (norm + 1e-6))
            optimizer.step()
            results.append((dense, embedding))
        for p, q in zip(*results, strict=True):
            assert_same(p, q, ulps=16, size=1.0)


@pytest.mark.parametrize("fused", [None, True])
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam", "AdamW"])
def test_clipping_comes_after_unscaling(name, fused):
    results = []
    for cls, options in (
        (subject(name), {"clip_grad_norm": 0.5, "fused": fused}),
        (reference(name), {}),
    ):
        torch.manual_seed(0)
        params = random_params(SHAPES)
        optimizer = cls(params, **FULL[name], **options)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for _ in range(3):
            optimizer.zero_grad()
            scaler.scale(sum((p * randn(*p.shape)).sum() for p in params)).backward()
            if not options:
                scaler.unscale_(optimizer)
                norm = nn.utils.clip_grad_norm_(params, 0.5)
            scaler.step(optimizer)
            scaler.update()
        results.append((params, optimizer))
    assert results[0][1].last_grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    for p, q in zip(results[0][0], results[1][0], strict=True):
        assert_same(p, q, ulps=16, size=1.0)


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam", "AdamW"])
def test_a_found_infinity_skips_the_clipped_step(name):
    params = random_params(SHAPES)
    before = [p.detach().clone() for p in params]
    optimizer = subject(name)(params, fused=True, clip_grad_norm=1.0)
    for p in params:
        p.grad = torch.full_like(p, INF)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(4.0), torch.tensor(1.0)
    optimizer.step()
    assert all(map(torch.equal, params, before))


@each_name
def test_any_layout_has_the_norm_of_its_numbers(name):
    def make():
        return [
            nn.Parameter(randn(6, 4)),
            nn.Parameter(randn(5, 6).t()),
            nn.Parameter(randn(12, 2)[::2]),
        ]

    ours, theirs = sides(name, 0.5, make=make)
    for _ in range(2):
        grads = [randn(4, 6).t(), randn(6, 5), randn(1, 2).expand(6, 2)]
        for p, q, grad in zip(params_of(ours), params_of(theirs), grads, strict=True):
            p.grad, q.grad = grad, grad.clone()
        ours.step()
        norm = nn.utils.clip_grad_norm_(params_of(theirs), 0.5)
        theirs.step()
        assert ours.last_grad_norm.item() == pytest.approx(norm.item(), rel=1e-5)
    check(ours, theirs)


@each_name
def test_the_norm_is_the_same_for_any_number_of_threads(name):
    import ironstep

    before, norms = ironstep.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            ironstep.set_num_threads(threads)
            torch.manual_seed(0)
            params = random_params(((300_001,), (64, 64), (7,)))
            optimizer = subject(name)(params, clip_grad_norm=1.0)
            for p in params:
                p.grad = randn(*p.shape)
            optimizer.step()
            norms.append((optimizer.last_grad_norm.item(), params))
    finally:
        ironstep.set_num_threads(before)
    assert norms[0][0] == norms[1][0] == norms[2][0]
    for _, params in norms[1:]:
        assert all(map(torch.equal, params, norms[0][1]))


@each_name
def test_clipping_survives_copies_and_checkpoints(name):
    ours, theirs = sides(name, 0.5)
    step_both(ours, theirs, 0.5)
    twin = copy.deepcopy(ours)
    assert twin.clip_grad_norm == 0.5
    ours.load_state_dict(copy.deepcopy(ours.state_dict()))
    assert ours.clip_grad_norm == 0.5
    step_both(ours, theirs, 0.5)
    check(ours, theirs)


def test_a_duplicate_parameter_is_clipped_twice_as_by_torch():
    """Its gradient counts twice in the norm and is scaled once for each time that it is listed."""
    results = []
    for cls, options in ((subject("SGD"), {"clip_grad_norm": 0.5}), (reference("SGD"), {})):
        p = nn.Parameter(torch.ones(4))
        p.grad = torch.arange(4.0)
        with pytest.warns(UserWarning, match="duplicate"):
            optimizer = cls([p, p], lr=0.1, **options)
        if not options:
            nn.utils.clip_grad_norm_([p, p], 0.5)
        optimizer.step()
        results.append(p)
    assert_same(*results, size=1.0)
