"""torch's own table of module inputs, with the class swapped."""

import copy
import pickle
import warnings

import pytest
import torch

from nn.batchnorm_cases import assert_close, gradients, ours

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever torch's test package warns about is not ours
    from torch.testing._internal import common_modules as torch_tests

NAMES = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
INFOS = {
    info.module_cls.__name__: info
    for info in torch_tests.module_db
    if info.module_cls.__name__ in NAMES
}


def inputs(name, dtype, training):
    info = INFOS[name]
    return info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=True, training=training
    )


def cases():
    for name in NAMES:
        for training in (True, False):
            for i, case in enumerate(inputs(name, torch.float64, training)):
                mode = "train" if training else "eval"
                yield pytest.param(name, training, i, id=f"{name}-{mode}-{i}-{case.desc}")


each_case = pytest.mark.parametrize(("name", "training", "index"), list(cases()))


def made(name, training, index, dtype=torch.float64, cls=None):
    case = inputs(name, dtype, training)[index]
    made_with = case.constructor_input
    module = (cls or ours(name))(*made_with.args, **made_with.kwargs).to(dtype).train(training)
    return module, case.forward_input


def test_the_table_has_all_three():
    assert set(INFOS) == set(NAMES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@each_case
def test_forward_and_backward_are_torchs(name, training, index, dtype):
    module, given = made(name, training, index, dtype)
    reference, _ = made(name, training, index, dtype, INFOS[name].module_cls)
    results = []
    for one in (module, reference):
        y = one(*given.args, **given.kwargs)
        torch.manual_seed(1)
        grads = gradients(y, torch.randn_like(y), [*given.args, *one.parameters()])
        results.append((y, *grads, *one.buffers()))
    for got, wanted in zip(*results, strict=True):
        if got.is_floating_point():
            assert_close(got, wanted, dtype, 64)
        else:
            assert torch.equal(got, wanted)


@each_case
def test_gradients_are_those_of_finite_differences(name, training, index):
    """First and second derivatives, of the input and of the parameters."""
    module, given = made(name, training, index)
    state = copy.deepcopy(module.state_dict())
    names = [name for name, _ in module.named_parameters()]

    def forward(x, *parameters):
        # Training changes the buffers: each call starts from the same.
        values = dict(zip(names, parameters, strict=True))
        values |= {key: value.clone() for key, value in state.items() if key not in names}
        return torch.func.functional_call(module, values, (x,))

    operands = (*given.args, *module.parameters())
    assert torch.autograd.gradcheck(forward, operands)
    assert torch.autograd.gradgradcheck(forward, operands)


@each_case
def test_inputs_with_gaps(name, training, index):
    module, given = made(name, training, index)
    reference = copy.deepcopy(module)
    (x,) = given.args
    spread = torch.empty((*x.shape, 2), dtype=x.dtype)[..., 0].copy_(x.detach()).requires_grad_()
    y, wanted = module(spread), reference(x)
    assert_close(y, wanted, torch.float64, 16)
    grad = torch.randn_like(wanted)
    for got, want in zip(
        gradients(y, grad, [spread, *module.parameters()]),
        gradients(wanted, grad, [x, *reference.parameters()]),
        strict=True,
    ):
        assert_close(got, want, torch.float64, 16)


@each_case
def test_pickles_state_dicts_and_representation(name, training, index):
    module, given = made(name, training, index)
    reference, _ = made(name, training, index, cls=INFOS[name].module_cls)
    assert repr(module) == repr(reference)
    assert module.state_dict().keys() == reference.state_dict().keys()
    twin = pickle.loads(pickle.dumps(module))
    assert torch.equal(twin(*given.args), module(*given.args))
    reference.load_state_dict(module.state_dict())
    twin.load_state_dict(reference.state_dict())


@each_case
def test_the_factory_arguments(name, training, index):
    case = inputs(name, torch.float64, training)[index]
    made_with = case.constructor_input
    module = ours(name)(*made_with.args, **made_with.kwargs, dtype=torch.bfloat16, device="meta")
    for tensor in (*module.parameters(), *module.buffers()):
        assert tensor.device.type == "meta"
        assert tensor.dtype in (torch.bfloat16, torch.int64)
