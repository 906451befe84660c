"""Ours by timm's optimizer factory: registered under a name, or made by timm and then converted."""

import pytest
import timm.optim
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.optim._optim_factory import default_registry

import ironstep
from integrations.training import assert_ends_alike, batches, loss_of
from optim.cases import NAMES, each_name

KWARGS = {
    "SGD": dict(nesterov=True),
    "Adagrad": dict(eps=1e-3),
    "RMSprop": dict(alpha=0.9, eps=1e-3),
    "Adam": dict(eps=1e-3, amsgrad=True),
    "AdamW": dict(eps=1e-3, betas=(0.8, 0.99)),
}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Our classes beside torch's, which timm knows under their names in lower case."""
    for name in NAMES:
        theirs = timm.optim.get_optimizer_info(name.lower())
        default_registry.register(
            timm.optim.OptimInfo(
                name=f"iron{name}",
                opt_class=f"ironstep.optim.{name}",
                description=theirs.description,
                has_eps=theirs.has_eps,
                has_momentum=theirs.has_momentum,
                has_betas=theirs.has_betas,
                defaults=theirs.defaults,
            )
        )


IMAGE = (3, 8, 8)


def train(name, opt, *, convert=False, **kwargs):
    torch.manual_seed(0)
    model = VisionTransformer(
        img_size=8, patch_size=4, embed_dim=8, depth=2, num_heads=2, num_classes=3
    )
    optimizer = timm.optim.create_optimizer_v2(
        model, opt, lr=0.01, weight_decay=0.01, **KWARGS[name], **kwargs
    )
    if convert:
        ironstep.optim.from_torch(optimizer)
    for batch in batches(IMAGE):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
    return model, optimizer


@each_name
def test_a_registered_name_ends_where_timms_own_ends(name):
    theirs, torch_optimizer = train(name, name.lower())
    assert type(torch_optimizer) is getattr(torch.optim, name)
    ours, optimizer = train(name, f"iron{name}")
    assert type(optimizer) is getattr(ironstep.optim, name)
    assert len(optimizer.param_groups) == 2  # timm leaves biases and norms out of the decay
    assert_ends_alike(ours, theirs, optimizer)


@each_name
def test_from_torch_ends_where_timms_own_ends(name):
    theirs, _ = train(name, name.lower())
    ours, optimizer = train(name, name.lower(), convert=True)
    assert type(optimizer) is getattr(ironstep.optim, name)
    assert_ends_alike(ours, theirs, optimizer)


def test_layers_with_their_own_learning_rates():
    theirs, _ = train("AdamW", "adamw", layer_decay=0.5)
    ours, optimizer = train("AdamW", "ironadamw", layer_decay=0.5)
    assert len({group["lr_scale"] for group in optimizer.param_groups}) == 4
    assert_ends_alike(ours, theirs, optimizer)


def test_lookahead_around_ours():
    theirs, _ = train("Adam", "lookahead_adam")
    ours, lookahead = train("Adam", "lookahead_ironadam")
    optimizer = lookahead._base_optimizer
    assert type(optimizer) is ironstep.optim.Adam
    assert_ends_alike(ours, theirs, optimizer)
