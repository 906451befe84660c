"""The rules themselves on arrays: for numpy, JAX on the CPU, or a framework of one's own. And batch
normalization and the loss of logits, with their gradients.

Optimizers have the names of torch's functional ones, and work in place. torch is not needed, but its CPU
tensors are taken by these.
"""

from ironstep.functional._batch_norm import batch_norm_backward, batch_norm_forward
from ironstep.functional._loss import cross_entropy
from ironstep.functional._optim import adagrad, adam, adamw, rmsprop, sgd

__all__ = [
    "adagrad",
    "adam",
    "adamw",
    "batch_norm_backward",
    "batch_norm_forward",
    "cross_entropy",
    "rmsprop",
    "sgd",
]
