"""The same bits for any number of threads, instruction set and way to read memory."""

import hashlib
import os

import pytest
import torch

import ironstep
from nn.batchnorm_cases import DTYPES, ours
from processes import elsewhere, skip_without

SHAPES = {
    "NC": ((4096, 65), torch.contiguous_format),
    "NC-few": ((50_000, 3), torch.contiguous_format),
    "NCL": ((9, 5, 2001), torch.contiguous_format),
    "NCHW": ((8, 33, 28, 28), torch.contiguous_format),
    "NCHW-large": ((3, 2, 160, 161), torch.contiguous_format),
    "NHWC": ((8, 33, 28, 28), torch.channels_last),
    "NHWC-wide": ((2, 515, 9, 9), torch.channels_last),
    "NDHWC": ((2, 7, 9, 20, 31), torch.channels_last_3d),
    "tiny": ((3, 2), torch.contiguous_format),
}


def digest(shape, order, dtype, activation):
    generator = torch.Generator().manual_seed(3)

    def randn():
        x = torch.randn(shape, generator=generator, dtype=torch.float64) * 2 + 5
        return x.to(dtype).to(memory_format=order).requires_grad_()

    x, residual = randn(), randn()
    module = ours(shape)(shape[1], activation=activation).to(dtype)
    bits = hashlib.blake2b(digest_size=16)
    for training, operands in ((True, (x,)), (True, (x, residual)), (False, (x, residual))):
        y = module.train(training)(*operands)
        grad = randn().detach()
        grads = torch.autograd.grad(y, [*operands, *module.parameters()], grad)
        for tensor in (y.detach(), *grads, *module.buffers()):
            bits.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return bits.hexdigest()


def digests():
    return {
        f"{name} {dtype} {activation}": digest(*shape, dtype, activation)
        for name, shape in SHAPES.items()
        for dtype in DTYPES
        for activation in (None, "relu")
    }


@pytest.fixture(scope="module")
def here():
    """The digests of this process, as it is."""
    return digests()


@pytest.fixture
def restored_threads():
    yield
    ironstep.set_num_threads(None)


@pytest.mark.usefixtures("restored_threads")
@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(here, threads):
    ironstep.set_num_threads(threads)
    assert digests() == here


HERE = "import json, ironstep, nn.test_same_bits as t; print(json.dumps([ironstep.config(), t.digests()]))"
IN_A_CHILD = """
import json, os, torch, nn.test_same_bits as t
t.digests()
torch.set_num_threads(1)  # torch's own threads are not in the child either
child = os.fork()
if child == 0:
    print(json.dumps([{}, t.digests()]), flush=True)
    os._exit(0)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_gives_the_same_bits(here):
    """The threads of the parent's pool are not in the child.

    The parent is a process of its own: where autograd has threads, as after some other tests, torch
    itself refuses a backward in a child.
    """
    assert elsewhere(IN_A_CHILD)[1] == here
