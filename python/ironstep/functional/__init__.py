"""The rules themselves, in place on arrays: for numpy, JAX on the CPU, or a framework of one's own.
And the loss of logits with its gradient.

Names are those of torch's functional optimizers. torch is not needed, but its CPU tensors are taken.
"""

from ironstep.functional._loss import cross_entropy
from ironstep.functional._optim import adagrad, adam, adamw, rmsprop, sgd

__all__ = ["adagrad", "adam", "adamw", "cross_entropy", "rmsprop", "sgd"]
