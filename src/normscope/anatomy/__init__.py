"""Read any model, and leave it as it was."""

from normscope.anatomy._call_graph import CallGraph as CallGraph
from normscope.anatomy._calling import Forward as Forward
from normscope.anatomy._calling import batches_of as batches_of
from normscope.anatomy._calling import call as call
from normscope.anatomy._modes import batch_statistics as batch_statistics
from normscope.anatomy._modes import normalizing_by_batch as normalizing_by_batch
from normscope.anatomy._norm_layers import batch_norm_layers as batch_norm_layers
from normscope.anatomy._preserved import modes_preserved as modes_preserved
from normscope.anatomy._preserved import preserved as preserved
from normscope.anatomy._running_norms import RunningNorm as RunningNorm
from normscope.anatomy._running_norms import running_norms as running_norms
