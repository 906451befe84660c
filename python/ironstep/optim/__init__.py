"""torch's optimizers with a native step on the CPU.

Each class is a subclass of torch's class of the same name and takes its place by a change of
import: constructor, param groups, state, state dict, hooks and schedulers are torch's. What the
native step does not know (CUDA and other devices, sparse or complex tensors, tensor subclasses, …)
torch updates in the same call; `last_dispatch` tells which and why.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    message = "ironstep.optim needs torch; install it with: pip install 'ironstep[torch]'"
    raise ImportError(message) from error

from ironstep.optim._from_torch import from_torch
from ironstep.optim._native_step import Dispatch, HandedOver
from ironstep.optim.adagrad import Adagrad
from ironstep.optim.adam import Adam, AdamW
from ironstep.optim.rmsprop import RMSprop
from ironstep.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Dispatch",
    "HandedOver",
    "RMSprop",
    "from_torch",
]
