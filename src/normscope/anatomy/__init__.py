"""Read any model, and leave it as it was."""

from normscope.anatomy._call_graph import CallGraph as CallGraph
from normscope.anatomy._calling import Forward as Forward
from normscope.anatomy._calling import batches_of as batches_of
from normscope.anatomy._calling import call as call
from normscope.anatomy._calling import first_batches as first_batches
from normscope.anatomy._calling import own_errors as own_errors
from normscope.anatomy._frozen import StaysInEval as StaysInEval
from normscope.anatomy._frozen import freeze_of as freeze_of
from normscope.anatomy._modes import batch_statistics as batch_statistics
from normscope.anatomy._modes import normalizing_by as normalizing_by
from normscope.anatomy._modes import normalizing_by_batch as normalizing_by_batch
from normscope.anatomy._norm_layers import batch_norm_layers as batch_norm_layers
from normscope.anatomy._norm_parameters import norm_parameters as norm_parameters
from normscope.anatomy._numbers import in_float64 as in_float64
from normscope.anatomy._numbers import readable as readable
from normscope.anatomy._preserved import all_or_nothing as all_or_nothing
from normscope.anatomy._preserved import modes_preserved as modes_preserved
from normscope.anatomy._preserved import preserved as preserved
from normscope.anatomy._random_states import random_states_kept as random_states_kept
from normscope.anatomy._running_norms import RunningNorm as RunningNorm
from normscope.anatomy._running_norms import running_norms as running_norms
from normscope.anatomy._weight_layers import WeightLayer as WeightLayer
from normscope.anatomy._weight_layers import weight_layers as weight_layers
from normscope.anatomy._wrappers import plain_path as plain_path
from normscope.anatomy._wrappers import plainly as plainly
from normscope.anatomy._wrappers import unwrapped as unwrapped
