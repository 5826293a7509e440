"""The network whose batch norms go by several batches at once: the opposite of noise."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from normscope._errors import InputError
from normscope._shapes import Batch, Logits
from normscope.nn._batch_norm import is_recomputed
from normscope.nn._mlp import MLP, _refuse_array


class CalmMLP(MLP):
    r"""An `MLP` that in training takes the rows of the batches before along, as companions.

    Every layer is given the batch and its companions, so that a batch norm normalizes by the
    statistics of them all; the logits of the batch alone are given back. The gradient flows
    through the companions' share of the statistics as through the batch's own. So this is batch
    norm with the noise of a larger batch, :math:`1/(k + 1)` of its variance, and with the loss and
    the steps of a small one: what Luo et al. 2019 (arXiv 1809.00846) ascribe to the noise ought to
    be lost. That companions are batches of the steps before, seen by today's weights, is our
    choice: each is as random a sample as the batch, and a training needs no other rows. At first
    there are none, and the batch takes their place.

    In eval it is an `MLP`. It holds the rows of its last batches, and so does its `state_dict`.

    Args:
        widths: as `MLP` has them.
        rows: of a batch.
        companions: k, how many batches.
        **options: as `MLP` has them.

    Raises:
        InputError: if `rows` or `companions` is not 1 or more.

    Example:
        >>> network = CalmMLP([2, 1], rows=2, companions=1, norm=torch.nn.BatchNorm1d)
        >>> first, second = torch.randn(2, 2, 2)
        >>> alone = network(first)
        >>> together = MLP([2, 1], norm=torch.nn.BatchNorm1d)(torch.cat([second, first]))
        >>> torch.allclose(network(second), together[:2], atol=1e-6)
        True
    """

    recent: Tensor
    batches_seen: Tensor

    def __init__(
        self, widths: list[int], *, rows: int, companions: int = 3, **options: Any
    ) -> None:
        super().__init__(widths, **options)
        if rows < 1 or companions < 1:
            msg = f"rows is {rows} and companions is {companions}; give 1 or more of each"
            raise InputError(msg)
        self.register_buffer("recent", torch.zeros((companions + 1) * rows, widths[0]))
        self.register_buffer("batches_seen", torch.tensor(0))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Logits:
        """Map ``[batch, inputs]``, or images ``[batch, height, width]``, to logits.

        Raises:
            InputError: if `x` is a NumPy array.
        """
        _refuse_array(x)
        if not self.training:
            return super().forward(x)
        rows = x.flatten(1)
        if not is_recomputed():  # otherwise they are what they were
            self._follow(rows.detach())
        companions = self.recent[len(rows) :].clone()  # backward keeps what it is given
        return super().forward(torch.cat([rows, companions]))[: len(rows)]

    def _follow(self, rows: Batch) -> None:
        """The batch comes first, and the oldest rows are forgotten."""
        room = len(self.recent)
        # Asking the device whether this is the first batch would wait for it.
        instead = rows[torch.arange(room, device=rows.device) % len(rows)]
        shifted = torch.cat([rows, self.recent])[:room]
        self.recent.copy_(torch.where(self.batches_seen == 0, instead, shifted))
        self.batches_seen.add_(1)
