"""A training step inside torch.compile: a graph break is fine, a wrong number is not."""

import shutil
import warnings

import pytest
import torch
from torch import nn

from optim.cases import FULL, assert_native, assert_same, each_name, reference, subject

# Traced, torch raises β to the power of a float32 tensor.
FLOAT32 = 2.0**32

HAS_COMPILER = any(map(shutil.which, ("g++", "clang++", "cl")))


def train(optimizer_class, name, wrap, steps=4, **options):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    optimizer = optimizer_class(model.parameters(), **FULL[name], **options)
    x = torch.randn(16, 6, dtype=torch.float64)

    def step():
        optimizer.zero_grad()
        loss = model(x).pow(2).mean()
        loss.backward()
        optimizer.step()
        return loss

    step = wrap(step)
    losses = torch.stack([step().detach() for _ in range(steps)])
    torch._dynamo.reset()
    return nn.utils.parameters_to_vector(model.parameters()), losses, optimizer


@pytest.fixture
def quiet_dynamo():
    """Graph breaks are said in warnings; here they are allowed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.usefixtures("quiet_dynamo")
@each_name
def test_a_traced_training_step_is_torchs(name):
    compiled, losses, optimizer = train(
        subject(name), name, lambda step: torch.compile(step, backend="eager")
    )
    expected, expected_losses, _ = train(reference(name), name, lambda step: step, foreach=False)
    assert_same(losses, expected_losses, ulps=8 * FLOAT32)
    assert_same(compiled, expected, ulps=8 * FLOAT32)
    # It is an ordinary optimizer still.
    optimizer.step()
    assert_native(optimizer, 0 if optimizer.param_groups[0]["params"][0].grad is None else 4)


@pytest.mark.skipif(not HAS_COMPILER, reason="torch.compile needs a C++ compiler")
@pytest.mark.usefixtures("quiet_dynamo")
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_compiled_training_step_is_torchs(name):
    compiled, losses, _ = train(subject(name), name, torch.compile, steps=3)
    expected, expected_losses, _ = train(
        reference(name), name, lambda step: step, steps=3, foreach=False
    )
    assert_same(losses, expected_losses, ulps=8 * FLOAT32)
    assert_same(compiled, expected, ulps=8 * FLOAT32)


@pytest.mark.usefixtures("quiet_dynamo")
@each_name
def test_a_compiled_step_method_is_torchs(name):
    """`torch.compile(optimizer.step)`, torch's own recipe for a faster step."""
    results = []
    for cls, wrap in (
        (subject(name), lambda step: torch.compile(step, backend="eager")),
        (reference(name), lambda step: step),
    ):
        torch.manual_seed(0)
        torch._dynamo.reset()
        p = nn.Parameter(torch.randn(5, 3, dtype=torch.float64))
        optimizer = cls([p], **FULL[name])
        step = wrap(optimizer.step)
        for _ in range(3):
            p.grad = torch.randn(5, 3, dtype=torch.float64)
            step()
        results.append(p)
    torch._dynamo.reset()
    assert_same(*results, ulps=8 * FLOAT32)


@pytest.mark.usefixtures("quiet_dynamo")
@each_name
def test_a_compiled_model_with_an_ordinary_step(name):
    """How most people use it: the model is compiled, the optimizer is not."""
    results = []
    for cls, compiled in ((subject(name), True), (reference(name), False)):
        torch.manual_seed(0)
        torch._dynamo.reset()
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        forward = torch.compile(model, backend="eager") if compiled else model
        optimizer = cls(model.parameters(), **FULL[name])
        x = torch.randn(16, 6, dtype=torch.float64)
        for _ in range(4):
            optimizer.zero_grad()
            forward(x).pow(2).mean().backward()
            optimizer.step()
        if compiled:
            assert_native(optimizer, 4)
        results.append(nn.utils.parameters_to_vector(model.parameters()))
    torch._dynamo.reset()
    assert_same(*results, ulps=1e5)
