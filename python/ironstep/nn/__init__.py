"""torch's layers with native kernels on the CPU; torch is needed."""

from ironstep.nn._batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from ironstep.nn._convert import convert_batchnorm, revert_batchnorm
from ironstep.nn._population import estimate_population_statistics

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "convert_batchnorm",
    "estimate_population_statistics",
    "revert_batchnorm",
]
