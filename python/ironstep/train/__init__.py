"""Parts of a training, to be put into a loop of one's own; `ironstep train` is a loop of them.

`minimize` runs the update rules of `ironstep.functional` on any function, `minibatches` draws samples,
`lipschitz_constant` estimates the learning rate that is safe, `DenseNetwork` is back-propagation by its
equations, on numpy alone. A part is imported when it is first asked for: the command line wants none of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ironstep._input_error import InputError

if TYPE_CHECKING:
    from ironstep.train._augment import augmentation, augmented
    from ironstep.train._data import Data, Part, load_data
    from ironstep.train._dense_network import DenseNetwork, Edge, Gradients
    from ironstep.train._gan import SemiSupervisedGANStep
    from ironstep.train._minimize import History, OptimizeResult, lipschitz_constant, minimize
    from ironstep.train._mixup import draw_mixup, mixup, mixup_real_fake
    from ironstep.train._models import load_weights, mlp, small_cnn
    from ironstep.train._sampling import minibatches
    from ironstep.train._split import split
    from ironstep.train._transfer import cached_features, feature_extractor, freeze, unfreeze_top

# Where a name is.
_MODULES = {
    "Data": "_data",
    "DenseNetwork": "_dense_network",
    "Edge": "_dense_network",
    "Gradients": "_dense_network",
    "History": "_minimize",
    "OptimizeResult": "_minimize",
    "Part": "_data",
    "SemiSupervisedGANStep": "_gan",
    "augmentation": "_augment",
    "augmented": "_augment",
    "cached_features": "_transfer",
    "draw_mixup": "_mixup",
    "feature_extractor": "_transfer",
    "freeze": "_transfer",
    "lipschitz_constant": "_minimize",
    "load_data": "_data",
    "load_weights": "_models",
    "minibatches": "_sampling",
    "minimize": "_minimize",
    "mixup": "_mixup",
    "mixup_real_fake": "_mixup",
    "mlp": "_models",
    "small_cnn": "_models",
    "split": "_split",
    "unfreeze_top": "_transfer",
}
_WITHOUT_TORCH = ("_dense_network", "_minimize", "_sampling", "_split")

__all__ = [
    "Data",
    "DenseNetwork",
    "Edge",
    "Gradients",
    "History",
    "InputError",
    "OptimizeResult",
    "Part",
    "SemiSupervisedGANStep",
    "augmentation",
    "augmented",
    "cached_features",
    "draw_mixup",
    "feature_extractor",
    "freeze",
    "lipschitz_constant",
    "load_data",
    "load_weights",
    "minibatches",
    "minimize",
    "mixup",
    "mixup_real_fake",
    "mlp",
    "small_cnn",
    "split",
    "unfreeze_top",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ironstep.train' has no attribute {name!r}")
    if _MODULES[name] not in _WITHOUT_TORCH:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            message = (
                f"ironstep.train.{name} needs torch; install it with: pip install 'ironstep[train]'"
            )
            raise ImportError(message) from error
    return getattr(importlib.import_module(f"ironstep.train.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
