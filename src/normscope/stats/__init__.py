"""Numbers: moments, their merging, and moving averages, as pure functions on tensors."""

from normscope.stats._averages import CumulativeAverage as CumulativeAverage
from normscope.stats._averages import ExponentialAverage as ExponentialAverage
from normscope.stats._averages import exponential_average as exponential_average
from normscope.stats._averages import warmed_up_decay as warmed_up_decay
from normscope.stats._batch_spread import BatchSpread as BatchSpread
from normscope.stats._moments import Moments as Moments
from normscope.stats._moments import merge as merge
from normscope.stats._moments import merge_all as merge_all
from normscope.stats._moments import moments as moments
from normscope.stats._ranks import gathered as gathered
from normscope.stats._ranks import together as together
