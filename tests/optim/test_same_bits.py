"""The same bits for any number of threads, instruction set and way to read memory."""

import hashlib

import pytest
import torch
from torch import nn

from optim.cases import CONFIGS, DTYPES, FULL, IS_TORCH, randn, suited
from processes import elsewhere, skip_without

if IS_TORCH:
    pytest.skip("torch makes no such promise", allow_module_level=True)

import ironstep
from ironstep import optim

SHAPES = ((), (7,), (33, 65), (100, 301), (9001,))


def layouts():
    """Dense, transposed, sliced and expanded; NaN, infinities and denormals among the numbers."""
    params, grads = [], []
    for dtype in DTYPES:
        for shape in SHAPES:
            params.append(nn.Parameter(randn(*shape, dtype=dtype)))
            grads.append(randn(*shape, dtype=dtype))
        params.append(nn.Parameter(randn(150, 70, dtype=dtype).t()))
        grads.append(randn(70, 150, dtype=dtype))
        params.append(nn.Parameter(randn(40, 200, dtype=dtype)[:, ::2]))
        grads.append(randn(100, dtype=dtype).expand(40, 100))
        params.append(nn.Parameter(randn(12, dtype=dtype)))
        special = [float("nan"), float("inf"), -float("inf"), 1e-40, -1e-42, 1e-310]
        grads.append(torch.tensor(special * 2, dtype=torch.float64).to(dtype))
    return params, grads


def digest(name, kwargs, clip):
    torch.manual_seed(7)
    params, grads = layouts()
    kwargs = suited(name, kwargs, torch.float16)
    optimizer = getattr(optim, name)(params, clip_grad_norm=clip, **kwargs)
    finite = [g if g.isfinite().all() or clip is None else torch.ones_like(g) for g in grads]
    for p, grad in zip(params, finite, strict=True):
        p.grad = grad
    for _ in range(2):
        optimizer.step()
    assert optimizer.last_dispatch.native == len(params)
    bits = hashlib.blake2b(digest_size=16)
    for p in params:
        for tensor in (p.detach(), *optimizer.state[p].values()):
            # A NaN may have any payload: one stands for all.
            numbers = tensor.contiguous().nan_to_num(float("nan")).reshape(-1)
            bits.update(numbers.view(torch.uint8).numpy().tobytes())
    return bits.hexdigest() + (f" {optimizer.last_grad_norm.item()!r}" if clip else "")


def digests():
    cases = [*((label, *case, None) for label, case in CONFIGS.items())]
    cases += [(f"{name} clipped", name, kwargs, 1.0) for name, kwargs in FULL.items()]
    cases += [
        ("rmsprop eps inside", "RMSprop", FULL["RMSprop"] | {"eps_inside_sqrt": True}, None),
        ("adam second", "Adam", FULL["Adam"] | {"bias_correction": "second"}, None),
    ]
    return {label: digest(name, kwargs, clip) for label, name, kwargs, clip in cases}


@pytest.fixture(scope="module")
def here():
    """The digests of this process, as it is."""
    return digests()


@pytest.fixture
def restored_threads():
    before = ironstep.get_num_threads()
    yield
    ironstep.set_num_threads(before)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(here, threads):
    ironstep.set_num_threads(threads)
    assert ironstep.get_num_threads() == threads
    assert digests() == here


HERE = """
import json, ironstep, optim.test_same_bits as t
d = t.digests()
print(json.dumps([ironstep.config(), d]))
"""


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bits(here, isa):
    skip_without(isa)
    config, theirs = elsewhere(HERE, IRONSTEP_ISA=isa)
    assert config["instruction_set"] == isa
    assert theirs == here


def test_the_fallback_without_the_exchange_api_gives_the_same_bits(here):
    config, theirs = elsewhere(HERE, IRONSTEP_MEMORY="data_ptr")
    assert config["memory"] == "data_ptr"
    assert theirs == here


def test_the_number_of_threads_from_the_environment(here):
    config, theirs = elsewhere(HERE, IRONSTEP_NUM_THREADS="1")
    assert config["num_threads"] == 1
    assert theirs == here


DISPATCH = """
import json, torch, pytest
import optim.test_dispatch as t
from optim.cases import FULL, subject
answers = []
for label, (make, _) in sorted(t.FOREIGN.items()):
    params = [t.dense(3), make(), t.dense(2)]
    optimizer = subject("SGD")(params, **FULL["SGD"])
    optimizer.step()
    answers.append([label, optimizer.last_dispatch.native, [list(h) for h in optimizer.last_dispatch.torch]])
print(json.dumps(answers))
"""


def test_the_fallback_dispatches_alike():
    assert elsewhere(DISPATCH) == elsewhere(DISPATCH, IRONSTEP_MEMORY="data_ptr")


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_parameter_gives_the_same_bits_alone_and_among_others(name):
    """Which tiles share a job, or where a tensor starts in a tile, is no matter of the result."""

    def run(start, stop):
        torch.manual_seed(1)
        everything = randn(100_003)
        grads = randn(100_003)
        p = nn.Parameter(everything[start:stop].clone())
        optimizer = getattr(optim, name)([p], **FULL[name])
        p.grad = grads[start:stop].clone()
        optimizer.step()
        optimizer.step()
        return p.detach()

    whole = run(0, 100_003)
    for start, stop in ((0, 1), (1, 50_000), (99_990, 100_003), (12_345, 77_777)):
        assert torch.equal(run(start, stop), whole[start:stop])
