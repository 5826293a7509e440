"""The article's network: linear layers, each normalized, each but the last rectified."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from normscope._errors import InputError
from normscope._shapes import Batch, Logits, Sums


class ScaledLinear(nn.Module):
    r"""A linear map whose trainable weight is divided by sqrt(fan-in) on every use.

    .. math:: s = x W^\top / \sqrt{n_\text{in}}, \qquad W_{ij} \sim N(0, 1)

    The article's parametrization. It starts as a plain layer with weights :math:`N(0, 1/n_{in})`
    does, and learns differently: an optimizer whose step ignores the gradient's scale (Adam) moves
    the weights that act by its step divided by sqrt(fan-in).

    Args:
        inputs: columns of x (the fan-in).
        outputs: columns of s.
        bias: add a trainable offset, which starts at 0 and is not scaled.
        generator: where the weights are drawn from; torch's default one if absent.

    Attributes:
        weight: the master weight, ``[outputs, inputs]``, as torch lays it out.
        scale: 1 / sqrt(fan-in).

    Example:
        >>> layer = ScaledLinear(4, 2, bias=False)
        >>> x = torch.ones(1, 4)
        >>> torch.equal(layer(x), (x @ layer.weight.T) / 2)
        True
    """

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.scale = 1 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, generator=generator))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Batch) -> Sums:
        """Map ``[batch, inputs]`` to ``[batch, outputs]``."""
        # Scaling the product costs batch * outputs; scaling the weight would cost inputs * outputs.
        s = F.linear(x, self.weight) * self.scale
        return s if self.bias is None else s + self.bias

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        outputs, inputs = self.weight.shape
        return f"{inputs}, {outputs}, bias={self.bias is not None}"


def plain_linear(
    inputs: int, outputs: int, *, bias: bool, generator: torch.Generator | None = None
) -> nn.Linear:
    """A `torch.nn.Linear` with weights from N(0, 1/fan-in) and bias 0.

    From the same generator state it starts as the same function as `ScaledLinear`, to rounding.

    Example:
        >>> plain_linear(3, 2, bias=False)
        Linear(in_features=3, out_features=2, bias=False)
    """
    linear = nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        linear.weight.copy_(torch.randn(outputs, inputs, generator=generator) / math.sqrt(inputs))
        if bias:
            linear.bias.zero_()
    return linear


@runtime_checkable
class LinearFactory(Protocol):
    """Makes a linear map, such as `ScaledLinear`."""

    def __call__(
        self, inputs: int, outputs: int, *, bias: bool, generator: torch.Generator | None = None
    ) -> nn.Module:
        """Draw its first weights from the generator, ``[outputs, inputs]`` and nothing else."""


class NormalizedLayer(nn.Module):
    """One layer of the article: ``s1 = linear(x)``, ``s3 = norm(s1)``.

    Attributes:
        linear: the weights; without a bias where a norm follows, whose beta does that work.
        norm: what normalizes s1 and gives it gamma and beta; `torch.nn.Identity` for none.
    """

    def __init__(self, linear: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm

    def forward(self, x: Batch) -> Sums:
        """Map ``[batch, inputs]`` to the layer's normalized sums ``[batch, outputs]``."""
        s3: Tensor = self.norm(self.linear(x))
        return s3


class MLP(nn.Module):
    """A multi-layer perceptron in which every layer is normalized, the logits as well.

    ``h = relu(norm(linear(x)))`` on hidden layers and ``norm(linear(x))`` on the last.

    Args:
        widths: columns of the input, of each hidden layer, and of the logits.
        norm: makes the normalization of a layer from its width; none where absent. A layer has a
            bias exactly where it has no normalization.
        norm_hidden: whether the hidden layers have it; if not, only the last has.
        linear: makes a layer's linear map; by default as `scaled_weights` says.
        scaled_weights: `ScaledLinear` (the article's) or `plain_linear`.
        seed: decides the weights; networks with equal widths and seed start with equal draws,
            whatever their norm and parametrization.

    Raises:
        InputError: if there are not at least two widths.

    Example:
        >>> network = MLP([784, 100, 10], norm=nn.BatchNorm1d, seed=0)
        >>> network(torch.zeros(5, 784)).shape
        torch.Size([5, 10])
        >>> sum(p.numel() for p in network.parameters())
        79620
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        norm: Callable[[int], nn.Module] | None = None,
        norm_hidden: bool = True,
        linear: LinearFactory | None = None,
        scaled_weights: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            msg = f"A network needs the widths of its input and its output, got {list(widths)}."
            raise InputError(msg)
        generator = torch.Generator().manual_seed(seed)
        linear = linear or (ScaledLinear if scaled_weights else plain_linear)
        layers, norms = [], [norm if norm_hidden else None] * (len(widths) - 2) + [norm]
        for (inputs, outputs), its_norm in zip(itertools.pairwise(widths), norms, strict=True):
            its_linear = linear(inputs, outputs, bias=its_norm is None, generator=generator)
            layers.append(
                NormalizedLayer(its_linear, its_norm(outputs) if its_norm else nn.Identity())
            )
        self.layers = nn.ModuleList(layers)

    def normalized_layers(self) -> list[NormalizedLayer]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, NormalizedLayer)]

    def forward(self, x: Float[Tensor, "batch ..."]) -> Logits:
        """Map ``[batch, inputs]``, or images ``[batch, height, width]``, to logits.

        Raises:
            InputError: if `x` is a NumPy array.
        """
        _refuse_array(x)
        *hidden, last = self.layers
        h = x.flatten(1)
        for layer in hidden:
            h = F.relu(layer(h))
        logits: Tensor = last(h)
        return logits


def _refuse_array(x: object) -> None:
    """A network computes with tensors.

    Raises:
        InputError: if `x` is a NumPy array.
    """
    if isinstance(x, np.ndarray):
        msg = "MLP: this is a NumPy array; pass torch.from_numpy(images)."
        raise InputError(msg)
