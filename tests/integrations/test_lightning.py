"""Ours in Lightning's Trainer: named in configure_optimizers, or converted inside its wrapper."""

import lightning
import pytest
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer

import ironstep
from integrations.training import AUTOCAST_ULPS, assert_ends_alike, batches, loss_of, network
from optim.cases import FULL, each_name

# Lightning asks a question of torch's pytree that torch would have put otherwise.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


class Module(lightning.LightningModule):
    """Steps twice an epoch: of eight batches, four are one step's gradient."""

    def __init__(self, optimizer_class, name):
        super().__init__()
        self.network = network()
        self.make = optimizer_class, FULL[name]

    def configure_optimizers(self):
        optimizer_class, kwargs = self.make
        optimizer = optimizer_class(self.parameters(), **kwargs)
        scheduler = torch.optim.lr_scheduler.CyclicLR(
            optimizer, base_lr=0.01, max_lr=0.02, step_size_up=2, cycle_momentum=False
        )
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def training_step(self, batch, index):
        return loss_of(self.network, batch)


class ConvertedModule(Module):
    def on_train_start(self):
        wrapped = self.optimizers()
        assert isinstance(wrapped, LightningOptimizer)
        assert ironstep.optim.from_torch(wrapped) is wrapped


class ByHand(Module):
    """Calls backward and step itself, on the wrapper."""

    automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss_of(self.network, batch))
        self.clip_gradients(optimizer, 0.5, "norm")
        optimizer.step()
        self.lr_schedulers().step()


def loader():
    return torch.utils.data.DataLoader(batches(), batch_size=None)


def fit(module, folder, *, checkpoint=None, **kwargs):
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        **kwargs,
    )
    trainer.fit(module, loader(), ckpt_path=checkpoint)
    return trainer


def train(module, folder, **kwargs):
    kwargs = dict(max_epochs=4, accumulate_grad_batches=4, gradient_clip_val=0.5) | kwargs
    (optimizer,) = fit(module, folder, **kwargs).optimizers
    return module.network, optimizer


@each_name
def test_configure_optimizers_ends_where_torchs_ends(name, tmp_path):
    theirs, _ = train(Module(getattr(torch.optim, name), name), tmp_path)
    ours, optimizer = train(Module(getattr(ironstep.optim, name), name), tmp_path)
    assert_ends_alike(ours, theirs, optimizer)


@pytest.mark.parametrize(
    ("precision", "ulps"), [("bf16-true", 4), ("bf16-mixed", AUTOCAST_ULPS), ("64-true", 64)]
)
def test_precisions_end_where_torchs_end(precision, ulps, tmp_path):
    theirs, _ = train(Module(torch.optim.Adam, "Adam"), tmp_path, precision=precision)
    ours, optimizer = train(Module(ironstep.optim.Adam, "Adam"), tmp_path, precision=precision)
    assert_ends_alike(ours, theirs, optimizer, ulps=ulps)


@each_name
def test_from_torch_through_the_wrapper_ends_where_torchs_ends(name, tmp_path):
    theirs, _ = train(Module(getattr(torch.optim, name), name), tmp_path)
    ours, optimizer = train(ConvertedModule(getattr(torch.optim, name), name), tmp_path)
    assert type(optimizer) is getattr(ironstep.optim, name)
    assert_ends_alike(ours, theirs, optimizer)


@each_name
def test_steps_by_hand_end_where_torchs_end(name, tmp_path):
    once = dict(max_epochs=1, accumulate_grad_batches=1, gradient_clip_val=None)
    theirs, _ = train(ByHand(getattr(torch.optim, name), name), tmp_path, **once)
    ours, optimizer = train(ByHand(getattr(ironstep.optim, name), name), tmp_path, **once)
    assert_ends_alike(ours, theirs, optimizer)


def test_a_checkpoint_of_torch_goes_on_with_ours(tmp_path):
    path = tmp_path / "first-epoch.ckpt"
    fit(Module(torch.optim.Adam, "Adam"), tmp_path, max_epochs=1).save_checkpoint(path)

    def go_on(optimizer_class):
        module = Module(optimizer_class, "Adam")
        (optimizer,) = fit(module, tmp_path, max_epochs=2, checkpoint=path).optimizers
        return module.network, optimizer

    theirs, _ = go_on(torch.optim.Adam)
    ours, optimizer = go_on(ironstep.optim.Adam)
    assert_ends_alike(ours, theirs, optimizer)
