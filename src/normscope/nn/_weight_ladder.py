"""Linear maps that normalize their weights, in the place of their sums."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope._shapes import Batch, Sums


class _GainedLinear(nn.Module):
    """What the rungs of this ladder consist of: weights, a gain per unit, and a bias.

    Args:
        inputs: columns of x.
        outputs: columns of s.
        bias: add b, which starts at 0.
        generator: where the weights are drawn from; torch's default one if absent.
        scaled_weights: draw from N(0, 1), or from N(0, 1/fan-in).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool,
        generator: torch.Generator | None = None,
        scaled_weights: bool = True,
    ) -> None:
        super().__init__()
        self.scale, drawn = _drawn(inputs, outputs, generator, scaled_weights=scaled_weights)
        self.weight = nn.Parameter(drawn)
        self.gain = nn.Parameter(self._first_gain())
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def _first_gain(self) -> Tensor:
        return torch.ones(len(self.weight))

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, bias={self.bias is not None}"


class WeightNormalizedLinear(_GainedLinear):
    r"""A linear map whose weights have a length and a direction of their own.

    .. math:: s_j = g_j \, \frac{v_j \cdot x}{\lVert v_j \rVert} + b_j

    Salimans & Kingma 2016 (arXiv 1602.07868), equation 2. The length of :math:`v_j` makes no
    difference to :math:`s`, as that of a weight before a batch norm does not. It starts as the
    function that `ScaledLinear` and `plain_linear` start as from the same generator state, to
    rounding, with :math:`g_j = \lVert v_j \rVert / \sqrt{n_\text{in}}` for scaled weights and
    :math:`\lVert v_j \rVert` for plain ones, which is about 1; not by statistics of a batch, as in
    section 3 of the article: that is another rung, `CalibratedNorm`.

    Args:
        inputs: columns of x.
        outputs: columns of s.
        bias: add b, which starts at 0.
        generator: where the weights are drawn from; torch's default one if absent.
        scaled_weights: draw v from N(0, 1), or from N(0, 1/fan-in).

    Attributes:
        weight: v, ``[outputs, inputs]``.
        gain: g, ``[outputs]``.
        scale: what `weight` would be multiplied by to be the first weights.

    Example:
        >>> layer, x = WeightNormalizedLinear(4, 2, bias=True), torch.ones(1, 4)
        >>> before = layer(x)
        >>> _ = layer.weight.data.mul_(7)
        >>> torch.allclose(layer(x), before)
        True
    """

    def forward(self, x: Batch) -> Sums:
        """Map ``[batch, inputs]`` to ``[batch, outputs]``."""
        # Scaling the product costs batch * outputs; scaling the weight would cost inputs * outputs.
        lengths = torch.linalg.vector_norm(self.weight, dim=1)
        s: Tensor = F.linear(x, self.weight) * (self.gain / lengths)
        return s if self.bias is None else s + self.bias

    def _first_gain(self) -> Tensor:
        lengths: Tensor = torch.linalg.vector_norm(self.weight.detach(), dim=1)
        return self.scale * lengths


class StandardizedLinear(_GainedLinear):
    r"""A linear map whose weights have mean 0 and a fixed length in every unit.

    .. math:: s_j = g_j \, \gamma \, \sum_i \frac{w_{ji} - \mu_j}{\sqrt{n \, \sigma_j^2}} \, x_i
              + b_j, \qquad \gamma = \sqrt{\frac{2}{1 - 1/\pi}}

    Scaled weight standardization (Brock, De, Smith & Simonyan 2021, arXiv 2102.06171): n is the
    fan-in, :math:`\mu_j` and :math:`\sigma_j^2` are mean and population variance of the unit's
    weights, and :math:`\gamma` keeps the variance from one ReLU to the next. Here every layer has
    it, also the first, whose input comes from no ReLU, and g is learned from 1. The product
    :math:`n \sigma_j^2` is at least 1e-4.

    Args:
        inputs: columns of x.
        outputs: columns of s.
        bias: add b, which starts at 0.
        generator: where the weights are drawn from; torch's default one if absent.
        scaled_weights: draw w from N(0, 1), or from N(0, 1/fan-in).

    Attributes:
        weight: w, ``[outputs, inputs]``.
        gain: g, ``[outputs]``.
        scale: what `weight` would be multiplied by to be of variance 1/fan-in.

    Example:
        >>> layer = StandardizedLinear(50, 2, bias=False)
        >>> torch.allclose(layer(torch.ones(1, 50)), torch.zeros(1, 2), atol=1e-5)
        True
    """

    relu_gain = math.sqrt(2 / (1 - 1 / math.pi))
    least = 1e-4

    def forward(self, x: Batch) -> Sums:
        """Map ``[batch, inputs]`` to ``[batch, outputs]``."""
        centred = self.weight - self.weight.mean(dim=1, keepdim=True)
        lengths = centred.square().sum(dim=1).clamp(min=self.least).sqrt()
        s = F.linear(x, centred) * (self.gain * self.relu_gain / lengths)
        return s if self.bias is None else s + self.bias


def _drawn(
    inputs: int, outputs: int, generator: torch.Generator | None, *, scaled_weights: bool
) -> tuple[float, torch.Tensor]:
    """The scale, and the draws of `ScaledLinear` or `plain_linear`."""
    drawn, root = torch.randn(outputs, inputs, generator=generator), math.sqrt(inputs)
    return (1 / root, drawn) if scaled_weights else (1.0, drawn / root)
