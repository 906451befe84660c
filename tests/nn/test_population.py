"""Statistics for prediction over many batches."""

import copy

import pytest
import torch
from torch import nn

import ironstep
from ironstep.nn import estimate_population_statistics
from nn.batchnorm_cases import each_dtype


def batches(count=5, shape=(6, 3, 4, 4), dtype=torch.float64):
    return [(torch.randn(shape, dtype=torch.float64) * (i + 1) + i).to(dtype) for i in range(count)]


def expected(data, eps=0.0):
    """The lecture's formulas, from the batches themselves."""
    dims = [d for d in range(data[0].dim()) if d != 1]
    n = data[0].numel() // data[0].shape[1]
    means = torch.stack([x.double().mean(dims) for x in data])
    variances = torch.stack([x.double().var(dims, correction=0) for x in data])
    return means.mean(0), n / (n - 1) * variances.mean(0)


@pytest.mark.parametrize("cls", [ironstep.nn.BatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_mean_of_means_and_unbiased_mean_of_variances(cls, momentum):
    layer = cls(3, momentum=momentum).double().eval()
    layer.running_mean.fill_(7.0)
    mean_buffer = layer.running_mean
    data = batches()
    assert estimate_population_statistics(layer, data) is None
    mean, var = expected(data)
    torch.testing.assert_close(layer.running_mean, mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(layer.running_var, var, rtol=1e-14, atol=1e-14)
    assert layer.num_batches_tracked == len(data)
    assert layer.running_mean is mean_buffer
    assert layer.momentum == momentum
    assert not layer.training
    assert not layer._forward_hooks


@each_dtype
def test_every_type(dtype):
    layer = ironstep.nn.BatchNorm2d(3).to(dtype)
    data = batches(dtype=dtype)
    estimate_population_statistics(layer, data)
    mean, var = expected(data)
    eps = torch.finfo(dtype).eps
    assert layer.running_mean.dtype == dtype
    # Each batch's statistics are rounded once, and the result once more.
    torch.testing.assert_close(layer.running_mean.double(), mean, rtol=2 * eps, atol=4 * eps)
    torch.testing.assert_close(layer.running_var.double(), var, rtol=2 * eps, atol=0)


def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, 4, 1), ironstep.nn.BatchNorm2d(4)),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.InstanceNorm2d(4, track_running_stats=True),
        ironstep.nn.BatchNorm2d(4).freeze(),
    ).double()


def test_only_statistics_change():
    net = model()
    net[3].eval()
    net[1].requires_grad_(False)
    for p in net[0].parameters():
        p.grad = torch.ones_like(p)
    before = copy.deepcopy(net)
    for p, q in zip(net.parameters(), before.parameters(), strict=True):
        q.grad = None if p.grad is None else p.grad.clone()
    estimate_population_statistics(net, batches())
    assert [m.training for m in net.modules()] == [m.training for m in before.modules()]
    for p, q in zip(net.parameters(), before.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.requires_grad == q.requires_grad
        assert (p.grad is None) == (q.grad is None)
    changed = {
        key
        for key, value in net.state_dict().items()
        if not torch.equal(value, before.state_dict()[key])
    }
    names = ("running_mean", "running_var", "num_batches_tracked")
    own = {f"{layer}.{name}" for layer in ("1", "3.1") for name in names}
    assert own == changed


def test_a_converted_model_gets_the_same():
    one, other, data = model(), ironstep.nn.convert_batchnorm(model()), batches()
    for net in (one, other):
        estimate_population_statistics(net, data)
    for key, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value)


def test_batches_in_tuples():
    data = batches()
    layers = [ironstep.nn.BatchNorm2d(3).double() for _ in range(3)]
    estimate_population_statistics(layers[0], data)
    estimate_population_statistics(layers[1], [(x, torch.zeros(6)) for x in data])
    estimate_population_statistics(layers[2], ([x] for x in data))
    for layer in layers[1:]:
        assert torch.equal(layer.running_var, layers[0].running_var)


def test_batches_of_several_sizes():
    data = [torch.randn(n, 3, dtype=torch.float64) for n in (2, 5, 9)]
    layer = ironstep.nn.BatchNorm1d(3).double()
    estimate_population_statistics(layer, data)
    var = torch.stack([x.var(0, correction=1) for x in data]).mean(0)
    torch.testing.assert_close(layer.running_var, var, rtol=1e-14, atol=0)


def test_a_layer_that_is_called_twice_and_one_that_is_not():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.twice, self.never = ironstep.nn.BatchNorm2d(3), ironstep.nn.BatchNorm2d(3)

        def forward(self, x):
            return self.twice(self.twice(x) + 5)

    net = Net().double()
    estimate_population_statistics(net, batches(2))
    assert net.twice.num_batches_tracked == 4
    assert net.never.num_batches_tracked == 0
    assert torch.equal(net.never.running_var, torch.ones(3).double())


class Stopped(BaseException):
    pass


def interrupted():
    yield from batches(2)
    raise Stopped


@pytest.mark.parametrize(
    ("loader", "error"),
    [
        (interrupted, Stopped),
        (list, ValueError),
        (lambda: [*batches(1), torch.zeros(1, 3, 1, 1, dtype=torch.float64)], ValueError),
        (lambda: [*batches(1), "no tensor"], Exception),
        (lambda: None, TypeError),
    ],
    ids=["interrupt", "no-batch", "one-value", "no-tensor", "no-loader"],
)
@pytest.mark.parametrize("cls", [ironstep.nn.BatchNorm2d, nn.BatchNorm2d])
def test_after_an_error_all_is_as_before(loader, error, cls):
    net = nn.Sequential(cls(3), cls(3)).double().eval()
    net(batches(1)[0])
    before = copy.deepcopy(net.state_dict())
    buffers = [id(b) for b in net.buffers()]
    with pytest.raises(error):
        estimate_population_statistics(net, loader())
    assert not any(m.training for m in net.modules())
    assert [id(b) for b in net.buffers()] == buffers
    assert [m.momentum for m in net] == [0.1, 0.1]
    assert not any(m._forward_hooks for m in net)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])


def test_an_interrupt_while_the_results_are_stored(monkeypatch):
    net = nn.Sequential(ironstep.nn.BatchNorm2d(3), ironstep.nn.BatchNorm2d(3)).double()
    before = copy.deepcopy(net.state_dict())
    from ironstep.nn import _population

    store = _population._Measured.store

    def stopping(self):
        store(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(_population._Measured, "store", stopping)
    with pytest.raises(KeyboardInterrupt):
        estimate_population_statistics(net, batches())
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key])
