"""Threads, and the report of what is in use."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import ironstep
from ironstep import functional

pytestmark = pytest.mark.usefixtures("threads_as_before")


def in_a_new_process(program, **environment):
    """What the program prints."""
    cleared = {k: v for k, v in os.environ.items() if not k.startswith("IRONSTEP_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=cleared | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("n", [1, 2, 3, 1024, np.int64(2), np.uint8(1)])
def test_a_number_of_threads_is_what_was_set(n):
    ironstep.set_num_threads(n)
    assert ironstep.get_num_threads() == n
    assert ironstep.config()["num_threads"] == n
    assert type(ironstep.get_num_threads()) is int


def test_none_goes_back_to_the_default():
    default = ironstep.get_num_threads()
    ironstep.set_num_threads(default + 5)
    ironstep.set_num_threads(None)
    assert ironstep.get_num_threads() == default


@pytest.mark.parametrize("n", [0, -1, 1025, 2**31, 2**63, 2**100, -(2**63), -(2**100)])
def test_a_number_out_of_range(n):
    before = ironstep.get_num_threads()
    with pytest.raises(ValueError, match=f"^n: got {n}; a number of threads from 1 to 1024"):
        ironstep.set_num_threads(n)
    assert ironstep.get_num_threads() == before


@pytest.mark.parametrize("n", [1.0, 2.5, "2", b"2", [2], np.float64(2), np.array([1, 2]), object()])
def test_something_that_is_no_integer(n):
    before = ironstep.get_num_threads()
    with pytest.raises(TypeError):
        ironstep.set_num_threads(n)
    assert ironstep.get_num_threads() == before


def test_without_a_number():
    with pytest.raises(TypeError, match="argument"):
        ironstep.set_num_threads()


def test_the_default_follows_torch_up_to_the_cores():
    cores = int(in_a_new_process("import ironstep; print(ironstep.get_num_threads())"))
    for threads in (1, 2, 64):
        torch.set_num_threads(threads)
        assert ironstep.get_num_threads() == min(threads, cores)


def test_the_default_without_torch_is_no_more_than_the_cores():
    # A container may be given less than the cores that it sees.
    default = int(in_a_new_process("import ironstep; print(ironstep.get_num_threads())"))
    assert 1 <= default <= os.cpu_count()


def test_the_environment_sets_the_number_of_threads():
    program = (
        "import ironstep\nprint(ironstep.get_num_threads())\n"
        "ironstep.set_num_threads(2)\nprint(ironstep.get_num_threads())\n"
        "ironstep.set_num_threads(None)\nprint(ironstep.get_num_threads())"
    )
    assert in_a_new_process(program, IRONSTEP_NUM_THREADS="5").split() == ["5", "2", "5"]
    assert in_a_new_process(program, IRONSTEP_NUM_THREADS=" 3 ").split() == ["3", "2", "3"]


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "1.5", "1025", "99999999999999999999"])
def test_a_number_in_the_environment_that_makes_no_sense_is_ignored(value):
    default = in_a_new_process("import ironstep; print(ironstep.get_num_threads())")
    program = "import ironstep; print(ironstep.get_num_threads())"
    assert in_a_new_process(program, IRONSTEP_NUM_THREADS=value) == default


SETS = ("scalar", "neon", "avx2", "avx512")


def test_the_environment_narrows_the_instruction_set():
    program = "import ironstep; print(ironstep.config()['instruction_set'])"
    widest = in_a_new_process(program).strip()
    for name in ("scalar", "avx2", "avx512"):
        used = in_a_new_process(program, IRONSTEP_ISA=name).strip()
        # Nothing is widened beyond what the processor has.
        assert (
            used == (name if SETS.index(name) <= SETS.index(widest) else widest) or used == "neon"
        )
    for nonsense in ("", "sse2", "AVX2", "avx1024"):
        assert in_a_new_process(program, IRONSTEP_ISA=nonsense).strip() == widest


def test_config_says_what_is_in_use():
    facts = ironstep.config()
    assert list(facts) == ["version", "instruction_set", "num_threads", "torch", "memory"]
    assert facts["version"] == ironstep.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", facts["version"])
    assert facts["instruction_set"] in SETS
    assert facts["num_threads"] == ironstep.get_num_threads()
    assert facts["torch"] == torch.__version__
    assert type(facts["torch"]) is str
    exchange = hasattr(torch.Tensor, "__dlpack_c_exchange_api__")
    forced = os.environ.get("IRONSTEP_MEMORY") == "data_ptr"
    assert facts["memory"] == ("dlpack" if exchange and not forced else "data_ptr")


def test_config_without_torch():
    program = """
import sys, ironstep
facts = ironstep.config()
assert (facts["torch"], facts["memory"]) == (None, "numpy"), facts
assert "torch" not in sys.modules
import torch
facts = ironstep.config()
assert facts["torch"] == torch.__version__ and facts["memory"] in ("dlpack", "data_ptr"), facts
"""
    in_a_new_process(program)


def test_the_environment_forces_the_way_of_older_torch():
    program = "import torch, ironstep; print(ironstep.config()['memory'])"
    assert in_a_new_process(program, IRONSTEP_MEMORY="data_ptr").strip() == "data_ptr"


def test_config_is_a_new_dictionary_each_time():
    ironstep.config()["version"] = "mine"
    assert ironstep.config()["version"] == ironstep.__version__


def test_show_config_prints_the_same_one_fact_a_line(capsys):
    ironstep.show_config()
    printed = capsys.readouterr()
    facts = dict(line.split(": ", 1) for line in printed.out.splitlines())
    assert facts == {name: str(value) for name, value in ironstep.config().items()}
    assert printed.err == ""


def test_asking_makes_no_pool():
    program = """
import os, ironstep
before = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else None
ironstep.set_num_threads(4)
ironstep.show_config()
assert before is None or os.listdir("/proc/self/task") == before
"""
    in_a_new_process(program)


def test_the_names_of_the_package():
    assert sorted(ironstep.__all__) == [
        "__version__",
        "config",
        "evaluate",
        "functional",
        "get_num_threads",
        "keep_freed_memory",
        "metrics",
        "nn",
        "optim",
        "set_num_threads",
        "show_config",
        "train",
    ]
    assert sorted(functional.__all__) == [
        "adagrad",
        "adam",
        "adamw",
        "batch_norm_backward",
        "batch_norm_forward",
        "cross_entropy",
        "rmsprop",
        "sgd",
    ]
    for function in functional.__all__:
        assert getattr(functional, function).__doc__


def test_freed_memory_that_is_kept_has_no_fresh_pages():
    faults = in_a_new_process("""
import resource
import numpy as np
import ironstep

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(1 << 20), np.ones(1 << 23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
if ironstep.keep_freed_memory():
    faults()
    print(faults(), fresh)
else:
    print("not glibc")
""")
    if "not glibc" in faults:
        pytest.skip("no glibc here")
    kept, fresh = map(int, faults.split())
    assert kept < fresh / 10
