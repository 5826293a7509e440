"""Build: batch normalization and its relatives, and the networks that use them."""

from normscope.nn._batch_norm import BatchNorm as BatchNorm
from normscope.nn._batch_norm import BatchNorm1d as BatchNorm1d
from normscope.nn._batch_norm import BatchNorm2d as BatchNorm2d
from normscope.nn._batch_norm import BatchNorm3d as BatchNorm3d
from normscope.nn._calm_mlp import CalmMLP as CalmMLP
from normscope.nn._ladder import CalibratedNorm as CalibratedNorm
from normscope.nn._ladder import DetachedBatchNorm as DetachedBatchNorm
from normscope.nn._ladder import GhostBatchNorm as GhostBatchNorm
from normscope.nn._ladder import NoisyBatchNorm as NoisyBatchNorm
from normscope.nn._ladder import PartialBatchNorm as PartialBatchNorm
from normscope.nn._mlp import MLP as MLP
from normscope.nn._mlp import LinearFactory as LinearFactory
from normscope.nn._mlp import NormalizedLayer as NormalizedLayer
from normscope.nn._mlp import ScaledLinear as ScaledLinear
from normscope.nn._mlp import plain_linear as plain_linear
from normscope.nn._population import has_running_statistics as has_running_statistics
from normscope.nn._population import set_population_statistics as set_population_statistics
from normscope.nn._population_by_passes import input_moments as input_moments
from normscope.nn._population_by_passes import merged_over_ranks as merged_over_ranks
from normscope.nn._population_by_passes import (
    set_population_statistics_by_passes as set_population_statistics_by_passes,
)
from normscope.nn._products import fast_linear as fast_linear
from normscope.nn._weight_ladder import StandardizedLinear as StandardizedLinear
from normscope.nn._weight_ladder import WeightNormalizedLinear as WeightNormalizedLinear
