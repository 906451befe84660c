"""Parts of a training, to be put into a loop of one's own.

`minimize` runs the update rules of `ironstep.functional` on any function, `minibatches` draws samples,
`lipschitz_constant` estimates the learning rate that is safe, `DenseNetwork` is back-propagation by its
equations, on numpy alone.
"""

from ironstep.train._dense_network import DenseNetwork, Edge, Gradients
from ironstep.train._minimize import History, OptimizeResult, lipschitz_constant, minimize
from ironstep.train._sampling import minibatches

__all__ = [
    "DenseNetwork",
    "Edge",
    "Gradients",
    "History",
    "OptimizeResult",
    "lipschitz_constant",
    "minibatches",
    "minimize",
]
