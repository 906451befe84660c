"""Features are what the network computes; what is frozen stays as it is, bit for bit."""

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

import ironstep
from ironstep.train import (
    InputError,
    _models,
    cached_features,
    feature_extractor,
    freeze,
    load_weights,
    mlp,
    small_cnn,
    unfreeze_top,
)

TORCHVISION = {
    "resnet18": ("fc", "layer3", 32),
    "densenet121": ("classifier", "features.denseblock2", 32),
    "mobilenet_v3_small": ("classifier.3", "features.5", 32),
    "squeezenet1_1": ("classifier.1", "features.7", 32),
    "vit_b_32": ("heads.head", "encoder.layers.encoder_layer_3", 224),
}


def torchvision(name):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    return models.get_model(name, weights=None, num_classes=5).eval()


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("converted", [False, True])
def test_features_are_the_input_of_the_last_layer(name, converted):
    model = torchvision(name)
    last, until, size = TORCHVISION[name]
    if converted:
        ironstep.nn.convert_batchnorm(model)
    x, seen = torch.randn(2, 3, size, size), {}
    handles = [
        model.get_submodule(last).register_forward_pre_hook(lambda _, i: seen.update(last=i[0])),
        model.get_submodule(until).register_forward_hook(lambda _, __, o: seen.update(until=o)),
    ]
    model(x)
    for handle in handles:
        handle.remove()
    assert torch.equal(feature_extractor(model)(x), seen["last"])
    assert torch.equal(feature_extractor(model, until)(x), seen["until"])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_nothing_above_the_layer_is_run():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2))  # 4 is not 5
    assert feature_extractor(model, "1")(torch.ones(1, 3)).shape == (1, 4)
    with pytest.raises(RuntimeError):
        model(torch.ones(1, 3))


def test_gradients_go_through_an_extractor():
    model = small_cnn(1, 3)
    feature_extractor(model)(torch.randn(4, 1, 8, 8)).sum().backward()
    assert model[0].weight.grad is not None
    assert model[-1].weight.grad is None


def test_an_extractor_and_its_network_are_used_side_by_side():
    model = mlp(4, 2).eval()
    x = torch.randn(3, 4)
    features = feature_extractor(model)(x)
    assert torch.equal(model[-1](features), model(x))


def test_a_layer_that_is_not_there_is_named():
    for call in (feature_extractor, freeze, lambda m, n: unfreeze_top(m, n, 0.1)):
        with pytest.raises(ValueError, match="no layer 'nothing'; the topmost are 0, 1, 2"):
            call(small_cnn(1, 2), "nothing")
    with pytest.raises(ValueError, match="no linear layer"):
        feature_extractor(nn.ReLU())


def test_a_layer_that_is_never_reached_is_an_error():
    model = nn.Sequential(nn.Linear(2, 2))
    model.add_module("unused", nn.Linear(2, 2))
    model.forward = lambda x: model[0](x)
    with pytest.raises(RuntimeError, match="did not come to 'unused'"):
        feature_extractor(model, "unused")(torch.ones(1, 2))


def step(model, groups=None):
    optimizer = ironstep.optim.AdamW(
        groups or [p for p in model.parameters() if p.requires_grad], lr=0.1
    )
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 1, 8, 8)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("converted", [False, True])
def test_what_is_frozen_stays_and_so_do_its_statistics(converted):
    model = small_cnn(1, 3)
    if converted:
        ironstep.nn.convert_batchnorm(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(freeze(model, until="7"))
    for name, value in model.state_dict().items():
        is_frozen = int(name.partition(".")[0]) <= 7
        assert torch.equal(value, before[name]) == is_frozen, name


@pytest.mark.parametrize("top", [1, 2, 4, "9", "12"])
def test_the_top_is_trained_and_nothing_else(top):
    model = small_cnn(1, 3)
    first = {1: 17, 2: 12, 4: 6}.get(top) if isinstance(top, int) else int(top)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model, unfreeze_top(freeze(model), top, 0.1))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (int(name.partition(".")[0]) < first), name


def test_learning_rates_fall_from_layer_to_layer():
    groups = unfreeze_top(small_cnn(1, 3), None, 0.1, decay=0.5)
    assert [group["name"] for group in groups] == ["17", "12", "9", "6", "3", "0"]
    assert [group["lr"] for group in groups] == [0.1 * 0.5**below for below in range(6)]
    assert [len(group["params"]) for group in groups] == [2, 3, 3, 3, 3, 3]  # with its batch norm


def test_every_parameter_is_in_one_group():
    model = torchvision("vit_b_32")
    groups = unfreeze_top(model, None, 0.1)
    parameters = [id(each) for group in groups for each in group["params"]]
    assert sorted(parameters) == sorted(id(each) for each in model.parameters())


def test_a_resnet_is_unfrozen_from_a_block_on():
    model = torchvision("resnet18")
    groups = unfreeze_top(model, "layer4", 1.0)
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert trained == {n for n, _ in model.named_parameters() if n.startswith(("layer4", "fc"))}
    assert sum(len(group["params"]) for group in groups) == len(trained)
    assert model.layer3[0].bn1.frozen
    assert not model.layer4[0].bn1.frozen


@pytest.mark.parametrize(
    ("top", "decay"), [(0, 1.0), (7, 1.0), (1, 0.0), (1, 1.5), (1, float("nan"))]
)
def test_wrong_arguments_change_nothing(top, decay):
    model = small_cnn(1, 3)
    with pytest.raises(ValueError, match=r"(top|decay): got"):
        unfreeze_top(model, top, 0.1, decay=decay)
    assert all(each.requires_grad for each in model.parameters())
    assert type(model[1]) is nn.BatchNorm2d


def test_features_are_computed_once(tmp_path):
    model, x = small_cnn(1, 3).train(), torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8)
    extractor, calls = feature_extractor(model), []
    prepare = _models.Standardize.of(x)

    def find():
        handle = model[0].register_forward_hook(lambda *_: calls.append(1))
        found = cached_features(extractor, x, path=tmp_path / "f.pt", prepare=prepare, batch_size=4)
        handle.remove()
        return found

    first = find()
    assert len(calls) == 3
    assert model.training
    assert torch.equal(find(), first)
    assert len(calls) == 3
    model.eval()
    torch.testing.assert_close(first, extractor(prepare(x)).detach())
    with torch.no_grad():
        model[0].weight += 1
    assert not torch.equal(find(), first)
    assert len(calls) == 6
    x[3] += 1
    find()
    assert len(calls) == 9


def test_a_file_that_holds_no_features_is_left(tmp_path):
    path = tmp_path / "thesis.doc"
    path.write_bytes(b"years of work")
    extractor = feature_extractor(small_cnn(1, 3))
    with pytest.raises(InputError):
        cached_features(extractor, torch.zeros(2, 1, 8, 8), path=path)
    torch.save({"a": 1}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds no features"):
        cached_features(extractor, torch.zeros(2, 1, 8, 8), path=tmp_path / "a.pt")
    assert path.read_bytes() == b"years of work"


@pytest.mark.parametrize(
    ("name", "last"),
    [("resnet18", "fc"), ("mnasnet0_5", "classifier.1")],  # the latter has versions
)
def test_weights_of_other_classes_are_taken_but_for_the_last_layer(tmp_path, name, last):
    models = pytest.importorskip("torchvision.models")
    other = models.get_model(name, weights=None, num_classes=1000)
    torch.save(other.state_dict(), tmp_path / "w.pth")
    model = torchvision(name)
    own = {name: value.clone() for name, value in model.state_dict().items()}
    assert load_weights(model, tmp_path / "w.pth") == (f"{last}.weight", f"{last}.bias")
    for name, value in model.state_dict().items():
        whose = own if name.startswith(f"{last}.") else other.state_dict()
        assert torch.equal(value, whose[name])


@pytest.mark.parametrize("kind", ["network", "model", "state_dict", "parallel", "old"])
def test_weights_are_found_in_other_peoples_files(tmp_path, kind):
    source, model = small_cnn(1, 3), small_cnn(1, 3)
    state = source.state_dict()
    if kind == "parallel":
        content = {f"module.{name}": value for name, value in state.items()}
    elif kind == "old":
        content = {n: value for n, value in state.items() if "num_batches" not in n}
    else:
        content = {kind: state, "epoch": 3}
    torch.save(content, tmp_path / "w.pt")
    assert load_weights(model, tmp_path / "w.pt") == ()
    for a, b in zip(source.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


WRONG = [
    (lambda s: {"a": 1}, "holds no state dict"),
    (lambda s: dict(list(s.items())[1:]), "it lacks '0.weight'"),
    (lambda s: s | {"more": torch.ones(1)}, "it has 'more' too many"),
    (lambda s: s | {"3.weight": torch.ones(9, 16, 3, 3)}, "3.weight has shape"),
    (lambda s: s | {"17.weight": torch.ones(3, 9)}, "17.weight has shape"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[message for _, message in WRONG])
def test_weights_of_another_network_change_nothing(tmp_path, change, message):
    model = small_cnn(1, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.save(change(small_cnn(1, 3).state_dict()), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt: ") as caught:
        load_weights(model, tmp_path / "w.pt")
    assert message in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
