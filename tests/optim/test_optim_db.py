"""torch's own table of optimizer configurations and error inputs, with the class swapped."""

import copy
import warnings

import pytest
import torch
from torch import nn

from optim.cases import NAMES, Pair, assert_same, randn, subject

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # whatever torch's test package warns about is not ours
    from torch.testing._internal import common_optimizers as torch_tests

INFOS = {info.name: info for info in torch_tests.optim_db if info.name in NAMES}
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SHAPES = ((10, 5), (10,), (3, 4, 2), (1, 1), (), (0, 3))


def cases():
    for name, info in INFOS.items():
        for dtype in DTYPES:
            inputs = torch_tests._get_optim_inputs_including_global_cliquey_kwargs(
                "cpu", dtype, info
            )
            # foreach has no CPU kernel, so torch leaves it out here; users still ask for it.
            inputs += [
                torch_tests.OptimizerInput(
                    None, base.kwargs | {"foreach": True}, base.desc + " & foreach"
                )
                for base in info.optim_inputs_func("cpu", dtype)
                if not isinstance(base.kwargs.get("lr"), torch.Tensor)
            ]
            for i, case in enumerate(inputs):
                label = f"{name}-{str(dtype).removeprefix('torch.')}-{i}-{case.desc}"
                yield pytest.param(name, dtype, case.kwargs, id=label)


def error_cases():
    for name, info in INFOS.items():
        for dtype in DTYPES:
            for i, case in enumerate(info.optim_error_inputs_func("cpu", dtype)):
                label = f"{name}-{str(dtype).removeprefix('torch.')}-{i}"
                yield pytest.param(name, dtype, case, id=label)


def table_params(dtype, requires_grad):
    # The last one never gets a gradient.
    return [nn.Parameter(randn(*shape, dtype=dtype), requires_grad) for shape in (*SHAPES, (4,))]


def table_grads(dtype):
    return [*(randn(*shape, dtype=dtype) for shape in SHAPES), None]


@pytest.mark.parametrize(("name", "dtype", "kwargs"), list(cases()))
def test_configuration_steps_as_torch(name, dtype, kwargs):
    # Under `differentiable` autograd watches the step and would refuse to change a leaf.
    requires_grad = not kwargs.get("differentiable", False)
    pair = Pair(name, lambda: table_params(dtype, requires_grad), **copy.deepcopy(kwargs))
    for _ in range(7):
        pair.step(table_grads(dtype))
    # torch's for-loop rounds to bfloat16 after every operation, ours after the step.
    pair.check(ulps=6 if dtype == torch.bfloat16 else 8)


@pytest.mark.parametrize(("name", "dtype", "case"), list(error_cases()))
def test_error_input_is_refused_as_by_torch(name, dtype, case):
    given = case.optimizer_error_input
    params = given.params
    if params is None:
        params = [nn.Parameter(torch.randn(2, 3, dtype=dtype)) for _ in range(2)]
    if case.error_on == torch_tests.OptimizerErrorEnum.CONSTRUCTION_ERROR:
        expected = (
            pytest.warns(case.error_type, match=case.error_regex)
            if issubclass(case.error_type, Warning)
            else pytest.raises(case.error_type, match=case.error_regex)
        )
        with expected:
            subject(name)(params, **given.kwargs)
    else:
        optimizer = subject(name)(params, **given.kwargs)
        with pytest.raises(case.error_type, match=case.error_regex):
            optimizer.step()


@pytest.mark.parametrize(
    ("name", "index"),
    [(name, i) for name, info in INFOS.items() for i in range(len(info.scheduler_inputs))],
)
def test_training_with_torchs_schedulers_goes_where_torch_goes(name, index):
    def make():
        return [nn.Parameter(randn(10, 5)), nn.Parameter(randn(10))]

    x = randn(5)

    def closure(params, optimizer):
        optimizer.zero_grad()
        weight, bias = params
        loss = (weight.mv(x) + bias).pow(2).sum()
        loss.backward()
        return loss

    pair = Pair(name, make, lr=1e-3)
    losses = []
    for optimizer, params in ((pair.ours, pair.params), (pair.torch, pair.torch_params)):
        schedulers = [make_one(optimizer) for make_one in INFOS[name].scheduler_inputs[index]]
        losses.append([])
        for _ in range(20):
            loss = closure(params, optimizer)
            losses[-1].append(loss.detach())
            optimizer.step()
            for scheduler in schedulers:
                if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                    scheduler.step(loss.detach())
                else:
                    scheduler.step()
    assert losses[0][-1] < losses[0][0]
    assert_same(torch.stack(losses[0]), torch.stack(losses[1]), ulps=8)
    pair.check(ulps=16)
