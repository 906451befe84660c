"""torch is neither needed nor imported."""

import subprocess
import sys

BLOCK = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NoTorch())
"""
STEPS = """
import array, numpy as np, ml_dtypes
import ironstep
from ironstep import functional
for dtype in ("f8", "f4", "f2", ml_dtypes.bfloat16):
    make = lambda: [np.ones(5, dtype), np.ones((4, 6), dtype)[::2].T]
    lists = [make() for _ in range(5)]
    functional.adam(*lists, steps=1, lr=0.5, amsgrad=True, clip_grad_norm=1.0)
    functional.adamw(*lists[:4], steps=[1, 2], lr=0.5)
    functional.sgd(*lists[:3], lr=0.5, momentum=0.9)
    functional.adagrad(*lists[:3], steps=1, lr=0.5)
    functional.rmsprop(*lists[:5], lr=0.5, momentum=0.9, centered=True, eps_inside_sqrt=True)
    assert (lists[0][0] != np.ones(5, dtype)).all()
weight = array.array("d", [1.0, 2.0])
functional.sgd([weight], [array.array("d", [1.0, 1.0])], lr=0.5)
assert weight.tolist() == [0.5, 1.5]
for call, error in [
    (lambda: functional.sgd([np.ones(2)], [np.ones(3)], lr=0.1), ValueError),
    (lambda: functional.sgd([[1.0]], [np.ones(1)], lr=0.1), TypeError),
]:
    try:
        call()
    except error:
        pass
    else:
        raise AssertionError
functional.sgd([np.ones(100_000)], [np.ones(100_000)], lr=0.1)
ironstep.set_num_threads(2)
functional.sgd([np.ones(100_000)], [np.ones(100_000)], lr=0.1)
ironstep.show_config()
assert ironstep.config()["torch"] is None
assert ironstep.config()["memory"] == "numpy"
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_works_where_torch_cannot_be_imported():
    assert "memory: numpy" in run(BLOCK + STEPS)


def test_it_works_where_torch_is_marked_as_missing():
    run("import sys\nsys.modules['torch'] = None\n" + STEPS)


def test_it_does_not_import_torch():
    run(STEPS + "import sys\nassert 'torch' not in sys.modules\n")


def test_torch_may_be_imported_later():
    run(
        STEPS
        + """
import torch
weight = torch.ones(2)
functional.sgd([weight], [torch.ones(2)], lr=0.5)
assert weight.tolist() == [0.5, 0.5] and weight._version == 1
assert ironstep.config()["torch"] == torch.__version__
"""
    )


def test_a_module_that_is_called_torch_and_is_not_torch():
    # Documentation builders and test suites put such into sys.modules.
    run(
        """
import sys, types, array, numpy as np
sys.modules["torch"] = types.ModuleType("torch")
import ironstep
from ironstep import functional
weight, buffer = np.ones(2), array.array("d", [1.0, 1.0])
functional.sgd([weight, buffer], [np.ones(2), np.ones(2)], lr=0.5)
assert weight.tolist() == buffer.tolist() == [0.5, 0.5]
ironstep.show_config()
"""
    )
