"""Learning-rate schedulers drive our optimizers as they drive torch's."""

import copy
import inspect
import warnings

import pytest
import torch
from torch.optim import lr_scheduler

from optim.cases import (
    FULL,
    IS_TORCH,
    Pair,
    assert_native,
    each_name,
    ours_only,
    random_params,
    reference,
    subject,
)

SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, step_size=2, gamma=0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, milestones=[2, 4]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, factor=0.3, total_iters=3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.8),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=4),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(
        o, base_lr=0.01, max_lr=0.1, step_size_up=2, cycle_momentum=cycles_momentum(o)
    ),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o, max_lr=0.1, total_steps=10, cycle_momentum=cycles_momentum(o)
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.ConstantLR(o, factor=0.1, total_iters=2), lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[2],
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, factor=0.1, total_iters=2), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1, factor=0.5),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, swa_lr=0.02, anneal_epochs=3),
}
# Until 2.8 or so, SequentialLR calls the others in a way that torch itself warns of.
pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter")
each_scheduler = pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)


def cycles_momentum(optimizer):
    return bool({"momentum", "betas"} & optimizer.defaults.keys())


def advance(scheduler, step):
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        scheduler.step(metrics=1.0 + step)
    else:
        scheduler.step()


def test_every_scheduler_of_torch_is_here():
    theirs = {
        name
        for name, cls in vars(lr_scheduler).items()
        if inspect.isclass(cls)
        and issubclass(cls, lr_scheduler.LRScheduler)
        and not name.startswith("_")
    }
    assert theirs - {"LRScheduler"} <= SCHEDULERS.keys()


@each_scheduler
@each_name
def test_scheduled_training_is_torchs(name, make):
    pair = Pair(name, **FULL[name])
    schedulers = [make(optimizer) for optimizer in (pair.ours, pair.torch)]
    for step in range(6):
        pair.step()
        for scheduler in schedulers:
            advance(scheduler, step)
        mine, theirs = (
            [g | {"params": None} for g in o.param_groups] for o in (pair.ours, pair.torch)
        )
        for a, b in zip(mine, theirs, strict=True):
            assert {k: a[k] for k in b if k != "foreach"} == {
                k: v for k, v in b.items() if k != "foreach"
            }
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW"])
def test_one_cycle_really_moves_the_momentum(name):
    optimizer = subject(name)(random_params(), **FULL[name])
    group = optimizer.param_groups[0]
    momentum = "betas" if "betas" in group else "momentum"
    before = group[momentum]
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert group[momentum] != before


@each_scheduler
@each_name
def test_tensor_lr_is_scheduled_in_place(name, make):
    kwargs = FULL[name] | {"lr": torch.tensor(0.05)}
    pair = Pair(name, **kwargs)
    # Each side its own: a scheduler writes into it.
    for optimizer in (pair.ours, pair.torch):
        optimizer.param_groups[0]["lr"] = torch.tensor(0.05)
    schedulers = [make(optimizer) for optimizer in (pair.ours, pair.torch)]
    for step in range(4):
        pair.step()
        for scheduler in schedulers:
            advance(scheduler, step)
    pair.check(ulps=8)


@each_name
def test_the_scheduler_warns_only_if_it_steps_first(name):
    optimizer = subject(name)(random_params())
    scheduler = lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    other = subject(name)(random_params())
    scheduler = lr_scheduler.StepLR(other, 1)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()


@each_name
def test_the_step_of_a_scheduled_optimizer_is_still_native(name):
    """A scheduler replaces `step` on the instance by a wrapper of its own."""
    pair = Pair(name, **FULL[name])
    scheduler = lr_scheduler.ExponentialLR(pair.ours, gamma=1.0)
    assert "step" in vars(pair.ours)
    pair.step()
    scheduler.step()
    pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@ours_only
@pytest.mark.parametrize("when", ["before", "after", "both"])
@each_name
def test_from_torch_with_a_scheduler_attached(name, when):
    pair = Pair(name, **FULL[name])
    optimizer = reference(name)(pair.params, **FULL[name])
    theirs = lr_scheduler.StepLR(pair.torch, 1, gamma=0.5)
    mine = []
    if when in ("before", "both"):
        mine.append(lr_scheduler.StepLR(optimizer, 1, gamma=0.5 if when == "before" else 1.0))
    from ironstep.optim import from_torch

    assert from_torch(optimizer) is optimizer
    if when in ("after", "both"):
        mine.append(lr_scheduler.StepLR(optimizer, 1, gamma=0.5))
    pair.ours = optimizer
    for _ in range(4):
        pair.step()
        assert_native(optimizer, len(pair.params))
        theirs.step()
        for scheduler in mine:
            with warnings.catch_warnings():
                if when == "both":
                    warnings.simplefilter("ignore", UserWarning)
                scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pair.torch.param_groups[0]["lr"]
    pair.check(ulps=8)


@each_name
def test_scheduler_state_goes_over_to_another_optimizer(name):
    pair = Pair(name, **FULL[name])
    schedulers = [lr_scheduler.CosineAnnealingLR(o, T_max=8) for o in (pair.ours, pair.torch)]
    for _ in range(3):
        pair.step()
        for scheduler in schedulers:
            scheduler.step()
    resumed = lr_scheduler.CosineAnnealingLR(pair.ours, T_max=8)
    resumed.load_state_dict(schedulers[1].state_dict())
    pair.ours.load_state_dict(copy.deepcopy(pair.torch.state_dict()))
    for _ in range(3):
        pair.step()
        resumed.step()
        schedulers[1].step()
    pair.check(ulps=8)
    assert IS_TORCH or pair.ours.last_dispatch.native == len(pair.params)
