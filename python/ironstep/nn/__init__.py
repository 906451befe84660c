"""torch's layers and losses with native kernels on the CPU; torch is needed."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    message = "ironstep.nn needs torch; install it with: pip install 'ironstep[torch]'"
    raise ImportError(message) from error

from ironstep.nn._batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ironstep.nn._convert import convert_batchnorm, revert_batchnorm
from ironstep.nn._loss import CrossEntropyLoss
from ironstep.nn._population import estimate_population_statistics
from ironstep.nn._semi_supervised_gan import SemiSupervisedGANLoss

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CrossEntropyLoss",
    "SemiSupervisedGANLoss",
    "convert_batchnorm",
    "estimate_population_statistics",
    "revert_batchnorm",
]
