"""Ours in an accelerate loop: prepared by it, or inside its wrapper when it is converted."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.state import AcceleratorState, GradientState

import ironstep
from integrations.training import AUTOCAST_ULPS, assert_ends_alike, batches, loss_of, network
from optim.cases import FULL, each_name

each_precision = pytest.mark.parametrize(
    ("precision", "ulps"), [("no", 64), ("bf16", AUTOCAST_ULPS)]
)


@pytest.fixture(autouse=True)
def own_settings():
    """accelerate's settings are shared by all Accelerators of a process."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def train(optimizer_class, name, precision, *, convert=False):
    model = network()
    optimizer = optimizer_class(model.parameters(), **FULL[name])
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    accelerator = Accelerator(
        cpu=True,
        mixed_precision=precision,
        gradient_accumulation_steps=2,
    )
    loader = torch.utils.data.DataLoader(batches(), batch_size=None)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)
    assert type(optimizer) is AcceleratedOptimizer
    if convert:
        assert ironstep.optim.from_torch(optimizer) is optimizer
    for batch in loader:
        with accelerator.accumulate(model):
            accelerator.backward(loss_of(model, batch))
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return accelerator.unwrap_model(model), optimizer.optimizer


@each_name
@each_precision
def test_a_prepared_optimizer_ends_where_torchs_ends(name, precision, ulps):
    theirs, _ = train(getattr(torch.optim, name), name, precision)
    ours, optimizer = train(getattr(ironstep.optim, name), name, precision)
    assert_ends_alike(ours, theirs, optimizer, ulps=ulps)


@each_name
@each_precision
def test_from_torch_through_the_wrapper_ends_where_torchs_ends(name, precision, ulps):
    theirs, _ = train(getattr(torch.optim, name), name, precision)
    ours, optimizer = train(getattr(torch.optim, name), name, precision, convert=True)
    assert type(optimizer) is getattr(ironstep.optim, name)
    assert_ends_alike(ours, theirs, optimizer, ulps=ulps)


def test_a_state_saved_with_torch_goes_on_with_ours(tmp_path):
    def run(optimizer_class, *, load=None, save=None):
        accelerator = Accelerator(cpu=True)
        model = network()
        optimizer = optimizer_class(model.parameters(), **FULL["Adam"])
        model, optimizer = accelerator.prepare(model, optimizer)
        if load:
            accelerator.load_state(load)
        for batch in batches():
            optimizer.zero_grad()
            accelerator.backward(loss_of(model, batch))
            optimizer.step()
        if save:
            accelerator.save_state(save)
        return accelerator.unwrap_model(model), optimizer.optimizer

    run(torch.optim.Adam, save=str(tmp_path))
    theirs, _ = run(torch.optim.Adam, load=str(tmp_path))
    ours, optimizer = run(ironstep.optim.Adam, load=str(tmp_path))
    assert_ends_alike(ours, theirs, optimizer)
