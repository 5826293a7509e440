"""Build: batch normalization and its relatives, and the networks that use them."""

from normscope.nn._batch_norm import BatchNorm as BatchNorm
from normscope.nn._batch_norm import BatchNorm1d as BatchNorm1d
from normscope.nn._batch_norm import BatchNorm2d as BatchNorm2d
from normscope.nn._batch_norm import BatchNorm3d as BatchNorm3d
