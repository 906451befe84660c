"""Autograd learns of every tensor that a step changes."""

import pytest
import torch
from torch import nn

from optim.cases import (
    FULL,
    Pair,
    assert_native,
    each_config,
    each_dtype,
    each_name,
    random_params,
    reference,
    subject,
    suited,
)


@each_name
def test_a_step_between_two_backwards_raises(name):
    """torch's fused step gives a wrong gradient here without a word."""
    for cls in (subject(name), reference(name)):
        first, second = nn.Linear(4, 4), nn.Linear(4, 2)
        optimizer = cls([*first.parameters(), *second.parameters()], lr=0.1)
        loss = second(first(torch.randn(3, 4))).pow(2).sum()
        loss.backward(retain_graph=True)
        optimizer.step()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@each_name
def test_a_graph_made_after_the_step_is_fine(name):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    optimizer = subject(name)(model.parameters(), lr=0.1)
    for _ in range(3):
        loss = model(torch.randn(3, 4)).pow(2).sum()
        loss.backward(retain_graph=True)
        loss.backward()
        optimizer.step()
    assert_native(optimizer, 4)


@each_dtype
@each_config
def test_versions_of_parameters_and_states_grow_with_every_step(name, kwargs, dtype):
    params = random_params(dtype=dtype)
    optimizer = subject(name)(params, **suited(name, kwargs, dtype))

    def step():
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()

    step()
    tensors = params + [v for p in params for v in optimizer.state[p].values()]
    before = [t._version for t in tensors]
    step()
    for i, (tensor, version) in enumerate(zip(tensors, before, strict=True)):
        assert tensor._version > version, i


@each_name
def test_a_parameter_that_sits_out_keeps_its_version(name):
    pair = Pair(name, **FULL[name])
    pair.step()
    idle = pair.params[2]
    before = [t._version for t in (idle, *pair.ours.state[idle].values())]
    grads = [None if i == 2 else torch.zeros_like(p) for i, p in enumerate(pair.params)]
    pair.step(grads)
    assert [t._version for t in (idle, *pair.ours.state[idle].values())] == before


@each_name
def test_gradients_keep_their_version(name):
    params = random_params()
    optimizer = subject(name)(params, **FULL[name])
    for p in params:
        p.grad = torch.ones_like(p)
    before = [p.grad._version for p in params]
    optimizer.step()
    optimizer.step()
    assert [p.grad._version for p in params] == before


@each_name
def test_a_saved_state_tensor_is_watched_too(name):
    """A graph that has used a state must not survive its change."""
    p = nn.Parameter(torch.ones(3))
    optimizer = subject(name)([p], **FULL[name])
    p.grad = torch.ones(3)
    optimizer.step()
    state = next(v for k, v in optimizer.state[p].items() if k != "step")
    x = torch.ones(3, requires_grad=True)
    y = (x * state).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


@each_name
def test_a_view_of_the_parameter_sees_the_new_version(name):
    p = nn.Parameter(torch.ones(4))
    view = p.detach()[1:]
    optimizer = subject(name)([p], lr=0.1)
    p.grad = torch.ones(4)
    before = view._version
    optimizer.step()
    assert view._version > before
    assert (view != 1).all()
