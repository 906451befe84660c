"""Converting a model and back: the same numbers, names and objects."""

import copy
import functools
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

import ironstep
from ironstep.nn import convert_batchnorm, revert_batchnorm
from nn.batchnorm_cases import assert_close

IN_TORCH = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
OURS = {ironstep.nn.BatchNorm1d, ironstep.nn.BatchNorm2d, ironstep.nn.BatchNorm3d}


def small():
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3, padding=1),
            bn=nn.BatchNorm2d(8),
            relu=nn.ReLU(inplace=True),
            body=nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            last=nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            bn1=nn.BatchNorm1d(4, affine=False),
        )
    ).double()


def resnet(name="resnet18", **kwargs):
    models = pytest.importorskip("torchvision.models", reason="no torchvision for this torch")
    return getattr(models, name)(num_classes=5, **kwargs).double()


MODELS = {
    "small": small,
    "resnet18": resnet,
    "resnet50": lambda: resnet("resnet50"),
    "resnet18-eps": lambda: resnet(norm_layer=functools.partial(nn.BatchNorm2d, eps=1e-3)),
}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
INPUT = (4, 3, 32, 32)


def trained(model, x, steps=1):
    """Outputs, gradients and buffers of training steps, and the output in eval."""
    results = []
    model.train()
    for _ in range(steps):
        model.zero_grad()
        given = x.clone().requires_grad_()
        y = model(given)
        y.backward(torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y))
        results += [y.detach(), given.grad, *(p.grad for p in model.parameters())]
    results += [b.clone() for b in model.buffers()]
    model.eval()
    with torch.no_grad():
        results.append(model(x))
    model.train()
    return results


def assert_same(got, wanted):
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        if a.is_floating_point():
            # The last layers normalize four values a channel: each makes much of rounding before it.
            assert_close(a, b, a.dtype, 2**18)
        else:
            assert torch.equal(a, b)


def facts(model):
    return (
        repr(model),
        [(name, type(module), set(module.__dict__)) for name, module in model.named_modules()],
        [(name, id(p)) for name, p in model.named_parameters()],
        [(name, id(b)) for name, b in model.named_buffers()],
        list(model.state_dict()),
    )


@each_model
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
def test_there_and_back(make, fuse):
    torch.manual_seed(0)
    model = make()
    reference = copy.deepcopy(model)
    x = torch.randn(INPUT, dtype=torch.float64)
    before = facts(model)

    assert convert_batchnorm(model, fuse=fuse) is model
    assert facts(model)[2:] == before[2:]
    assert not any(type(module) in IN_TORCH for module in model.modules())
    assert type(model).__name__ == type(reference).__name__
    assert isinstance(model, type(reference))
    assert_same(trained(model, x), trained(reference, x))

    # Half-way, each loads what the other has saved.
    reference.load_state_dict(model.state_dict())
    model.load_state_dict(reference.state_dict())

    assert revert_batchnorm(model) is model
    assert facts(model) == before
    assert_same(trained(model, x), trained(reference, x))


def fused(model):
    return {
        name: module._fused
        for name, module in model.named_modules()
        if isinstance(module, ironstep.nn.BatchNorm2d | ironstep.nn.BatchNorm1d) and module._fused
    }


def test_what_is_fused_in_a_sequential():
    model = convert_batchnorm(small())
    assert fused(model) == {"bn": "relu", "body.1": "relu"}
    assert model.bn.activation == "relu"
    assert [type(m).__mro__[1] for m in (model.relu, model.body[2])] == [nn.Identity] * 2
    assert "ReLU, done by the batch norm before" in repr(model)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_what_is_fused_in_torchvisions_blocks(name):
    model = convert_batchnorm(resnet(name))
    got = fused(model)
    last = "bn2" if name == "resnet18" else "bn3"
    for layer, module in model.named_modules():
        if not isinstance(module, nn.BatchNorm2d):
            continue
        if "downsample" in layer:
            assert layer not in got
        elif layer.endswith(last):
            assert got[layer] == "add and relu"
        else:
            assert got[layer] == "relu"
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    assert type(model) is not ResNet
    assert isinstance(model, ResNet)
    assert isinstance(model.layer1[0], BasicBlock if name == "resnet18" else Bottleneck)
    # Equal blocks have one class.
    assert type(model.layer2[1]) is type(model.layer3[1])


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_fused_model_runs_natively_in_one_call_a_layer(name, calls):
    model = convert_batchnorm(resnet(name))
    layers = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    model(torch.randn(INPUT, dtype=torch.float64)).sum().backward()
    assert (calls.forward, calls.backward, calls.refused) == (layers, layers, 0)


def test_converting_twice_and_reverting_twice():
    model = small()
    before = facts(model)
    convert_batchnorm(model, fuse=False)
    assert not fused(model)
    convert_batchnorm(model)
    once = facts(model)
    convert_batchnorm(model)
    convert_batchnorm(model, fuse=False)
    assert facts(model) == once
    revert_batchnorm(revert_batchnorm(model))
    assert facts(model) == before


def test_a_single_layer():
    layer = nn.BatchNorm1d(3)
    assert type(convert_batchnorm(layer)) is ironstep.nn.BatchNorm1d
    assert type(revert_batchnorm(layer)) is nn.BatchNorm1d


def test_an_optimizer_made_before_goes_on():
    torch.manual_seed(0)
    model = small()
    reference = copy.deepcopy(model)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, reference)]
    x = torch.randn(INPUT, dtype=torch.float64)
    for step in range(6):
        if step == 2:
            convert_batchnorm(model)
        if step == 4:
            revert_batchnorm(model)
        for one, optimizer in zip((model, reference), optimizers, strict=True):
            optimizer.zero_grad()
            one(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@each_model
def test_copies_and_pickles_of_a_converted_model(make):
    torch.manual_seed(0)
    model = convert_batchnorm(make())
    x = torch.randn(INPUT, dtype=torch.float64)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    twins = [
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(file, weights_only=False),
    ]
    wanted = trained(model, x)
    for twin in twins:
        assert repr(twin) == repr(model)
        assert [type(m) for m in twin.modules()] == [type(m) for m in model.modules()]
        for a, b in zip(trained(twin, x), wanted, strict=True):
            assert torch.equal(a, b)
        revert_batchnorm(twin)
        assert repr(twin) == repr(make())


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
def test_what_else_holds_a_converted_model():
    torch.manual_seed(0)
    model = convert_batchnorm(resnet())
    reference = revert_batchnorm(copy.deepcopy(model))
    x = torch.randn(INPUT, dtype=torch.float64)
    traced = torch.fx.symbolic_trace(model)
    assert_close(traced(x), reference(x), torch.float64, 2**14)
    compiled = torch.compile(model, backend="eager")
    assert_close(compiled(x), reference(x), torch.float64, 2**14)
    for forgetful in (torch.jit.script, nn.SyncBatchNorm.convert_sync_batchnorm):
        twin = copy.deepcopy(model)
        with pytest.raises(RuntimeError, match=r"would drop activation.*revert_batchnorm"):
            forgetful(twin)


# What is not fused


def assert_not_fused(model, **kwargs):
    convert_batchnorm(model, **kwargs)
    assert not fused(model)
    assert any(type(module) is nn.ReLU for module in model.modules())


def norm_and_relu():
    return nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "kind",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_layers_with_hooks_are_not_fused(kind, which):
    model = norm_and_relu()
    seen = []
    getattr(model[which], kind)(lambda *args: seen.append(1))
    assert_not_fused(model)
    model(torch.randn(2, 3, 4, 4, requires_grad=True)).sum().backward()
    assert seen  # kept


def test_layers_that_are_used_elsewhere_are_not_fused():
    for which in (0, 1):
        model = norm_and_relu()
        assert_not_fused(nn.ModuleDict({"one": model, "other": model[which]}))
    relu = nn.ReLU()
    assert_not_fused(nn.Sequential(nn.BatchNorm2d(3), relu, nn.BatchNorm2d(3), relu))


def test_a_sequence_that_is_used_twice_is_fused():
    model = norm_and_relu()
    convert_batchnorm(nn.ModuleList([model, model]))
    assert model[0].activation == "relu"


class Backwards(nn.Sequential):
    def forward(self, x):
        for module in reversed(self):
            x = module(x)
        return x


class Capped(nn.ReLU):
    def forward(self, x):
        return x.clamp(0, 6)


def test_what_only_looks_alike_is_not_fused():
    for model in (
        Backwards(nn.BatchNorm2d(3), nn.ReLU()),
        nn.ModuleList([nn.BatchNorm2d(3), nn.ReLU()]),
        nn.Sequential(nn.BatchNorm2d(3), nn.Identity(), nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)),
    ):
        assert_not_fused(model)
    for other in (nn.ReLU6(), nn.LeakyReLU(), Capped()):
        model = convert_batchnorm(nn.Sequential(nn.BatchNorm2d(3), other))
        assert model[0].activation is None
        assert model[1] is other
    model = norm_and_relu()
    model.forward = lambda x: model[0](x)
    assert_not_fused(model)


def test_a_subclass_that_runs_as_a_sequence_is_fused():
    class Block(nn.Sequential):
        pass

    assert convert_batchnorm(Block(nn.BatchNorm2d(3), nn.ReLU()))[0].activation == "relu"


def test_a_block_with_hooks_inside_keeps_its_order():
    model = resnet()
    seen = []
    block = model.layer1[0]
    block.bn2.register_forward_hook(lambda module, args, y: seen.append(y.min().item()))
    convert_batchnorm(model)
    assert "layer1.0.bn1" in fused(model)
    assert "layer1.0.bn2" not in fused(model)
    model(torch.randn(INPUT, dtype=torch.float64))
    assert seen[0] < 0  # before the ReLU, as ever
    block.relu.register_forward_hook(lambda *args: None)
    revert_batchnorm(model)
    convert_batchnorm(model)
    assert not any(name.startswith("layer1.0") for name in fused(model))


def test_blocks_of_other_classes_are_not_rewritten():
    resnets = pytest.importorskip("torchvision.models.resnet")

    class Mine(resnets.BasicBlock):
        def forward(self, x):
            return super().forward(x) * 2

    block = Mine(8, 8)
    convert_batchnorm(block)
    assert type(block) is Mine
    assert not fused(block)
    assert type(block.bn1) is ironstep.nn.BatchNorm2d


@pytest.mark.parametrize("on", ["object", "class"])
def test_blocks_whose_forward_was_replaced_are_not_rewritten(on, monkeypatch):
    resnets = pytest.importorskip("torchvision.models.resnet")
    theirs = resnets.ResNet._forward_impl

    def impl(self, x):
        if len(x) > 2:  # nothing that torch.fx could trace
            x = x * 2
        return theirs(self, x) if self.training else theirs(self, x).softmax(1)

    model = resnet()
    if on == "object":
        model._forward_impl = impl.__get__(model)
    else:
        monkeypatch.setattr(resnets.ResNet, "_forward_impl", impl)
    reference = copy.deepcopy(model)
    reference._forward_impl = impl.__get__(reference)
    convert_batchnorm(model)
    assert type(model) is resnets.ResNet
    assert not model.bn1._fused
    assert model.layer1[0].bn1._fused == "relu"
    x = torch.randn(INPUT, dtype=torch.float64)
    assert_same(trained(model, x), trained(reference, x))


def test_a_fused_layer_that_is_called_by_others_says_so():
    block = convert_batchnorm(resnet()).layer1[0]
    x = torch.randn(2, 64, 4, 4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"revert_batchnorm\(model\)"):
        block.bn2(x)
    with pytest.raises(RuntimeError, match=r"revert_batchnorm\(model\)"):
        super(type(block), block).forward(x)


# What is not converted


class Special(nn.BatchNorm2d):
    pass


def test_other_classes_stay():
    others = [Special(3), nn.LazyBatchNorm2d(), nn.InstanceNorm2d(3), nn.GroupNorm(3, 3)]
    replaced = nn.BatchNorm2d(3)
    replaced.forward = lambda x: x
    model = nn.ModuleList([*others, replaced])
    before = facts(model)
    convert_batchnorm(model)
    assert facts(model) == before


def test_synchronized_layers_are_reported():
    model = nn.Sequential(
        nn.SyncBatchNorm(3), nn.Sequential(nn.BatchNorm2d(3), nn.SyncBatchNorm(3))
    )
    with pytest.warns(UserWarning, match=r"SyncBatchNorm layers stay as they are: '0', '1\.1'"):
        convert_batchnorm(model)
    assert type(model[0]) is nn.SyncBatchNorm
    assert type(model[1][0]) is ironstep.nn.BatchNorm2d


def test_layers_that_were_ours_before_stay_ours():
    model = nn.Sequential(
        ironstep.nn.BatchNorm2d(3),
        nn.ReLU(),
        ironstep.nn.BatchNorm2d(3, activation="relu"),
        nn.BatchNorm2d(3),
    )
    before = facts(model)
    convert_batchnorm(model)
    assert [m.activation for m in (model[0], model[2], model[3])] == ["relu", "relu", None]
    revert_batchnorm(model)
    assert facts(model) == before


def test_reverting_a_frozen_layer_is_refused():
    model = convert_batchnorm(small())
    model.body[1].freeze()
    state = facts(model)
    with pytest.raises(ValueError, match=r"^model: layer 'body\.1' is frozen"):
        revert_batchnorm(model)
    assert facts(model) == state
    model.body[1].unfreeze()
    revert_batchnorm(model)
    assert type(model.body[1]) is nn.BatchNorm2d


class Exponential(nn.Module):
    def forward(self, x):
        return x.exp()


@pytest.mark.parametrize("which", ["body.1", "relu", "block"])
def test_reverting_what_got_another_class_is_refused(which):
    resnets = pytest.importorskip("torchvision.models.resnet")
    model = small()
    model.block = resnets.BasicBlock(4, 4).double()
    before = facts(model)
    convert_batchnorm(model)
    if which == "body.1":
        parametrize.register_parametrization(model.body[1], "weight", Exponential())
    else:
        module = model.get_submodule(which)
        module.__class__ = type("Wrapped", (type(module),), {})
    converted = facts(model)
    with pytest.raises(ValueError, match=f"^model: '{which}' was made a (Parametrized|Wrapped)"):
        revert_batchnorm(model)
    assert facts(model) == converted
    if which == "body.1":
        parametrize.remove_parametrizations(model.body[1], "weight", leave_parametrized=False)
    else:
        module.__class__ = type(module).__base__
    revert_batchnorm(model)
    assert repr(model) == before[0]


def test_reverting_a_part_of_what_was_fused_is_refused():
    resnets = pytest.importorskip("torchvision.models.resnet")
    model = small()
    model.block = resnets.BasicBlock(4, 4).double()
    before = facts(model)
    convert_batchnorm(model)
    converted = facts(model)
    for part in (model.bn, model.body[:2], model.block.bn1, nn.ModuleList([model.block.bn2])):
        with pytest.raises(ValueError, match=r"^model: layer '.*' was fused with one that follows"):
            revert_batchnorm(part)
    assert facts(model) == converted
    for part in (model.body, model.block):
        revert_batchnorm(part)
    assert type(model.body[1]) is type(model.block.bn1) is nn.BatchNorm2d
    assert type(model.bn) is ironstep.nn.BatchNorm2d
    revert_batchnorm(model)
    assert facts(model) == before


def test_a_model_that_was_frozen_by_eval_and_requires_grad_stays_so():
    model = small().eval()
    model.bn.weight.requires_grad_(False)
    convert_batchnorm(model)
    assert not model.bn.training
    assert not model.bn.weight.requires_grad
