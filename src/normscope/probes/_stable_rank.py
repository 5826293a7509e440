"""How many directions the examples still take, layer by layer."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer
from normscope.probes._units import by_unit, layer_sums
from normscope.records import Reading

_ROWS = 512


@dataclass
class StableRank:
    r"""The stable rank of what every layer makes of the probe batch.

    r(H) = tr(M)²/‖M‖²_F with M = HᵀH/N for the matrix H ``[N, units]``, the lower bound of its rank
    that Daneshmand et al. 2020 (arXiv 2003.01652) follow over depth: 1 where all rows point one
    way, n where n directions share alike. H is taken as it is, not centred. It cannot be larger
    than the rows or the units.

    Quantities, per layer: ``sums``, the stable rank of z, and ``normalized``, that of what the norm
    behind it gives, where there is one. NaN where all is 0.

    Of at most 512 values (places of examples), evenly spread.

    Cost: 1 FB, which the other probes of activations share, and a Gram matrix of the shorter side
    for each layer; no decomposition.

    Example:
        >>> import torch
        >>> stable_rank(torch.eye(5)), stable_rank(torch.ones(5, 3))
        (5.0, 1.0)
    """

    needs_loss: ClassVar[bool] = True

    name: str = "stable-rank"
    every: int = 500

    def read(self, moment: Moment) -> list[Reading]:
        """One or two quantities of every weight layer."""
        write, readings = Writer(moment, self.name), list[Reading]()
        for seen in layer_sums(moment):
            kinds = {"sums": seen.sums}
            if seen.layer.norm is not None:
                kinds["normalized"] = seen.normalized
            for kind, values in kinds.items():
                units = by_unit(moment.network, seen.layer, values)
                sample = units[:: -(-len(units) // _ROWS)]
                readings.append(write.number(kind, stable_rank(sample), seen.layer.path))
        return readings


def stable_rank(h: Tensor) -> float:
    """tr(M)²/‖M‖²_F with M = HᵀH, for a matrix ``[rows, units]``.

    Example:
        >>> import torch
        >>> stable_rank(torch.diag(torch.tensor([2.0, 1.0])))  # (4 + 1)² / (16 + 1)
        1.470588...
    """
    largest = float(h.abs().max())
    h = h.double() / largest  # fourth powers soon leave what floats can hold
    gram = h.T @ h if h.shape[0] > h.shape[1] else h @ h.T
    return float(gram.trace() ** 2 / gram.square().sum())
