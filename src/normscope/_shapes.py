"""The words for shapes: the axis names that annotations share.

They are read by people everywhere and checked at run time in the tests only
(`pytest --jaxtyping-packages`), so they cost a user nothing.

* ``batch``: the rows of one mini-batch (the article's `m`)
* ``features``: the units of a layer, one column each
* ``units``: the same, of a layer's output
* ``channels``: what one set of running statistics belongs to
* ``rows``: the examples of a whole data set
"""

from jaxtyping import Float, Int
from torch import Tensor

AnyFloats = Float[Tensor, "..."]
PerChannel = Float[Tensor, "channels"]
Inputs = Float[Tensor, "batch ..."]
Batch = Float[Tensor, "batch features"]
Sums = Float[Tensor, "batch units"]
Logits = Float[Tensor, "batch classes"]
ClassIndices = Int[Tensor, "batch"]
