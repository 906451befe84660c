"""Parameters, gradients and states in any memory layout."""

import pytest
import torch
from torch import nn

from optim.cases import (
    FULL,
    Pair,
    assert_native,
    assert_same,
    assert_same_state,
    each_config,
    each_dtype,
    each_name,
    randn,
    reference,
    subject,
    suited,
)

GUARD = 7.0


def sliced(*shape, dtype=torch.float32, step=2):
    """A tensor that uses every `step`-th element of each dimension of a buffer full of guards."""
    buffer = torch.full([step * n + 1 for n in shape], GUARD, dtype=dtype)
    view = buffer[tuple(slice(1, 1 + step * n, step) for n in shape)]
    view.copy_(randn(*shape, dtype=dtype))
    return view


def guards_are_intact(view):
    buffer = view._base if view._base is not None else view
    inside = torch.zeros(buffer.shape, dtype=torch.bool)
    inside.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(True)
    return (buffer[~inside] == GUARD).all()


# What a layout does to a dense tensor of shape (2, 3, 4, 5): the same numbers, stored differently.
LAYOUTS = {
    "contiguous": lambda t: t.clone(memory_format=torch.contiguous_format),
    "channels-last": lambda t: t.clone(memory_format=torch.channels_last),
    "transposed": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "permuted": lambda t: t.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2),
    "sliced-rows": lambda t: torch.stack([t, torch.full_like(t, GUARD)])[0],
    "sliced-columns": lambda t: torch.stack([t, torch.full_like(t, GUARD)], -1)[..., 0],
    "sliced-everywhere": lambda t: sliced(*t.shape, dtype=t.dtype).copy_(t),
    "padded-rows": lambda t: nn.functional.pad(t, (0, 3), value=GUARD)[..., :5],
    "with-offset": lambda t: nn.functional.pad(t.flatten(), (3, 0), value=GUARD)[3:].view(t.shape),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def test_layouts_hold_the_numbers_they_are_given():
    dense = randn(2, 3, 4, 5)
    for change in LAYOUTS.values():
        assert torch.equal(change(dense), dense)


@pytest.mark.parametrize("grad_layout", LAYOUTS)
@each_layout
@each_name
def test_gradient_in_another_layout_than_its_parameter(name, layout, grad_layout):
    def make():
        return [nn.Parameter(LAYOUTS[layout](randn(2, 3, 4, 5)))]

    pair = Pair(name, make, **FULL[name])
    for _ in range(3):
        grad = LAYOUTS[grad_layout](randn(2, 3, 4, 5))
        pair.params[0].grad, pair.torch_params[0].grad = grad, grad.clone()
        pair.ours.step()
        pair.torch.step()
    assert_native(pair.ours, 1)
    pair.check(ulps=8)


@each_dtype
@each_layout
@each_name
def test_states_in_another_layout_than_their_parameter(name, layout, dtype):
    """As after loading a checkpoint that was made before `model.to(memory_format=...)`."""

    def make():
        return [nn.Parameter(randn(2, 3, 4, 5, dtype=dtype))]

    pair = Pair(name, make, **suited(name, FULL[name], dtype))
    pair.step()
    for optimizer, (p,) in ((pair.ours, pair.params), (pair.torch, pair.torch_params)):
        for i, (key, value) in enumerate(optimizer.state[p].items()):
            if key != "step":
                # Each state in a layout of its own.
                change = LAYOUTS[layout] if i % 2 else LAYOUTS["permuted"]
                optimizer.state[p][key] = change(value)
    pair.step()
    assert_native(pair.ours, 1)
    pair.check(ulps=6)


@each_dtype
@each_config
def test_step_of_a_sliced_parameter_leaves_its_surroundings_alone(name, kwargs, dtype):
    views = {}

    def make():
        mine = views[len(views)] = [
            sliced(9, 4, dtype=dtype),
            sliced(3, 5, 2, dtype=dtype),
            sliced(11, dtype=dtype),
        ]
        return [nn.Parameter(v) for v in mine]

    pair = Pair(name, make, **suited(name, kwargs, dtype))
    for _ in range(3):
        pair.step()
    assert_native(pair.ours, 3)
    assert all(guards_are_intact(v) for v in views[0])
    pair.check(ulps=8)


@each_name
def test_step_of_sliced_states_leaves_their_surroundings_alone(name):
    pair = Pair(name, lambda: [nn.Parameter(randn(9, 4))], **FULL[name])
    pair.step()
    surroundings = []
    for optimizer, (p,) in ((pair.ours, pair.params), (pair.torch, pair.torch_params)):
        for key, value in optimizer.state[p].items():
            if key != "step":
                optimizer.state[p][key] = sliced(9, 4).copy_(value)
                surroundings.append(optimizer.state[p][key])
    pair.step()
    assert_native(pair.ours, 1)
    assert all(guards_are_intact(view) for view in surroundings)
    pair.check(ulps=8)


@each_dtype
@each_config
def test_expanded_gradient_counts_for_every_element(name, kwargs, dtype):
    """The gradient of `sum()` is one number with stride 0."""
    pair = Pair(
        name,
        lambda: [nn.Parameter(randn(6, 5, dtype=dtype)) for _ in range(3)],
        **suited(name, kwargs, dtype),
    )
    for _ in range(3):
        grads = [
            randn(dtype=dtype).expand(6, 5),
            randn(5, dtype=dtype).expand(6, 5),
            randn(6, 1, dtype=dtype).expand(6, 5),
        ]
        for p, q, grad in zip(pair.params, pair.torch_params, grads, strict=True):
            p.grad, q.grad = grad, grad.clone()
        pair.ours.step()
        pair.torch.step()
    assert_native(pair.ours, 3)
    pair.check(ulps=8)


@each_name
def test_gradient_of_a_sum_comes_expanded_from_autograd(name):
    pair = Pair(name, lambda: [nn.Parameter(randn(6, 5))], **FULL[name])
    for (p,), optimizer in ((pair.params, pair.ours), (pair.torch_params, pair.torch)):
        (p.grad,) = torch.autograd.grad(p.sum(), p)
        assert p.grad.stride() == (0, 0)
        optimizer.step()
    assert_native(pair.ours, 1)
    pair.check()


@pytest.mark.parametrize(
    "shape",
    [
        (),
        (1,),
        (0,),
        (3, 0),
        (0, 3),
        (1, 1, 1, 1),
        (1, 7, 1),
        (5, 1),
        (1, 5),
        (2, 1, 3, 1, 2),
        (1,) * 12 + (3, 2),
    ],
    ids=str,
)
@each_dtype
@each_name
def test_any_number_of_dimensions_and_elements(name, dtype, shape):
    pair = Pair(
        name,
        lambda: [nn.Parameter(randn(*shape, dtype=dtype)), nn.Parameter(randn(3, dtype=dtype))],
        **suited(name, FULL[name], dtype),
    )
    for _ in range(2):
        pair.step()
    assert_native(pair.ours, 2)
    pair.check(ulps=6)


@each_name
def test_dimensions_of_size_one_may_have_any_stride(name):
    """Their stride is never used, and libraries write anything there."""

    def make():
        buffer = randn(24)
        return [nn.Parameter(buffer.as_strided((1, 4, 1, 6), (999, 6, 0, 1)))]

    pair = Pair(name, make, **FULL[name])
    for _ in range(2):
        grad = randn(24).as_strided((1, 4, 1, 6), (0, 6, 12345, 1))
        for p in (pair.params[0], pair.torch_params[0]):
            p.grad = grad
        pair.ours.step()
        pair.torch.step()
    assert_native(pair.ours, 1)
    assert_same(pair.params[0], pair.torch_params[0])


@each_name
def test_many_dimensions_that_do_not_coalesce(name):
    shape, permutation = (2, 3, 2, 3, 2, 3, 2), (6, 2, 4, 0, 5, 1, 3)

    def make():
        return [nn.Parameter(randn(*shape).permute(permutation))]

    pair = Pair(name, make, **FULL[name])
    for _ in range(2):
        pair.step()
    assert_native(pair.ours, 1)
    pair.check()


@pytest.mark.parametrize("shape", [(300, 500), (129, 1031), (4100, 33), (70, 40, 50)], ids=str)
@each_dtype
@each_name
def test_transposed_gradient_over_many_tiles(name, dtype, shape):
    """Larger than a tile in both directions, with ragged edges."""
    pair = Pair(
        name, lambda: [nn.Parameter(randn(*shape, dtype=dtype))], **suited(name, FULL[name], dtype)
    )
    for _ in range(2):
        grad = randn(*reversed(shape), dtype=dtype)
        grad = grad.permute(*reversed(range(grad.dim())))
        pair.params[0].grad, pair.torch_params[0].grad = grad, grad.contiguous()
        pair.ours.step()
        pair.torch.step()
    assert_native(pair.ours, 1)
    pair.check(ulps=8)


@each_name
def test_channels_last_weights_and_states_keep_their_layout(name):
    def make():
        model = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
        with torch.no_grad():
            for p in model.parameters():
                p.copy_(randn(*p.shape))
        return list(model.parameters())

    pair = Pair(name, make, **FULL[name])
    for _ in range(2):
        pair.step(
            [
                randn(*p.shape).to(memory_format=torch.channels_last)
                if p.dim() == 4
                else randn(*p.shape)
                for p in pair.params
            ]
        )
    weight = pair.params[0]
    for key, value in pair.ours.state[weight].items():
        if key != "step":
            assert value.is_contiguous(memory_format=torch.channels_last), key
    assert_native(pair.ours, 2)
    pair.check()


@each_name
def test_many_small_and_one_large_tensor(name):
    shapes = [(3, 2)] * 40 + [(700, 301)] + [(1,)] * 40 + [(64, 64)] * 20
    pair = Pair(name, lambda: [nn.Parameter(randn(*shape)) for shape in shapes], **FULL[name])
    for _ in range(2):
        pair.step()
    assert_native(pair.ours, len(shapes))
    pair.check(ulps=8)


@each_dtype
@each_name
def test_every_length_around_a_vector_and_a_tile(name, dtype):
    """Remainders: each length has its own number of leftover elements."""
    lengths = [*range(70), *(2**k + d for k in (8, 10, 11, 12, 13, 14) for d in (-1, 0, 1))]
    pair = Pair(
        name,
        lambda: [nn.Parameter(randn(n, dtype=dtype)) for n in lengths],
        **suited(name, FULL[name], dtype),
    )
    for _ in range(2):
        pair.step()
    assert_native(pair.ours, len(lengths))
    pair.check(ulps=6)


@each_name
def test_gradients_and_parameters_at_odd_addresses(name):
    """A view may start anywhere that a number may start: no vector alignment is assumed."""
    for offset in range(1, 9):
        buffers = [torch.full((100,), GUARD) for _ in range(2)]
        views = [b[offset : offset + 77] for b in buffers]
        start, grad = randn(77), randn(100)[offset : offset + 77]
        params = []
        for view, cls in zip(views, (subject(name), reference(name)), strict=True):
            p = nn.Parameter(view.copy_(start))
            p.grad = grad
            optimizer = cls([p], **FULL[name])
            optimizer.step()
            params.append((p, optimizer))
        (p, ours), (q, theirs) = params
        assert_same(p, q)
        assert_same_state(ours, theirs, [p], [q])
        assert guards_are_intact(views[0])
