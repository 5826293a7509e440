"""Change: one operation per file, each with a receipt.

`freeze` and the other repairs move in with *What is wrong with my model?*.
"""

from normscope.surgery._fold import fold as fold
from normscope.surgery._linear_chain import LinearChain as LinearChain
from normscope.surgery._recalibrate import recalibrate as recalibrate
