"""Change: one operation per file, each with a receipt."""

from normscope.surgery._bias import remove_bias_before_norm as remove_bias_before_norm
from normscope.surgery._copy_buffers import copy_buffers as copy_buffers
from normscope.surgery._decay import exempt_norms as exempt_norms
from normscope.surgery._decay import parameter_groups as parameter_groups
from normscope.surgery._fold import fold as fold
from normscope.surgery._freeze import freeze as freeze
from normscope.surgery._freeze import unfreeze as unfreeze
from normscope.surgery._linear_chain import LinearChain as LinearChain
from normscope.surgery._momentum import set_momentum as set_momentum
from normscope.surgery._recalibrate import recalibrate as recalibrate
