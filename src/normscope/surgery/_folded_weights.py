"""The arithmetic of folding: which weights act when a batch norm follows a linear map."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import in_float64
from normscope.nn import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, ScaledLinear

OUTPUT_AXES: dict[type[nn.Module], int] = {
    nn.Linear: 2,
    ScaledLinear: 2,
    nn.Conv1d: 3,
    nn.Conv2d: 4,
    nn.Conv3d: 5,
    nn.ConvTranspose1d: 3,
    nn.ConvTranspose2d: 4,
    nn.ConvTranspose3d: 5,
}
"""What a batch norm folds into, and how many axes its output has to have for axis 1 to be the
channels. Exact types: a subclass may compute something else."""

FOLDABLE_NORMS: set[type[nn.Module]] = {
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    BatchNorm,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
}
"""The batch norms that compute the same thing in eval mode, again by exact type."""


class Folded(NamedTuple):
    """A weight and a bias, rounded once, to the dtype of the weight that they replace."""

    weight: Tensor
    bias: Tensor | None

    def is_finite(self) -> bool:
        """Whether all of it is."""
        return all(bool(t.isfinite().all()) for t in self if t is not None)


@torch.no_grad()
def folded(linear: nn.Module, norm: _BatchNorm) -> Folded:
    r"""The weight and bias that do the work of `linear` and then `norm`, in eval mode.

    .. math::
        W' = g \, c \, W, \qquad b' = \beta + g \, (b - \mathrm{mean}), \qquad
        g = \gamma / \sqrt{\mathrm{variance} + \epsilon}

    with g along the output channels, wherever these are in W, and c the scale of a `ScaledLinear`,
    else 1. It follows from putting s = c W x + b into the batch norm of Ioffe & Szegedy 2015
    (arXiv 1502.03167), Algorithm 2, line 11. Jacob et al. 2018 (arXiv 1712.05877, section 3.2)
    fold the same factor before they quantize. Computed in float64.

    Example:
        >>> linear = nn.Linear(1, 1).requires_grad_(False)
        >>> norm = nn.BatchNorm1d(1, eps=0.0).eval()
        >>> _ = linear.weight.fill_(6.0), linear.bias.fill_(5.0)
        >>> _ = norm.running_mean.fill_(1.0), norm.running_var.fill_(4.0)
        >>> folded(linear, norm)
        Folded(weight=tensor([[3.]]), bias=tensor([2.]))
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = _acting(linear)
    mean, variance = in_float64(norm.running_mean), in_float64(norm.running_var)
    gain = (variance + norm.eps).rsqrt()
    offset = torch.zeros_like(mean)
    if norm.affine:
        gain, offset = in_float64(norm.weight) * gain, in_float64(norm.bias)
    offset = offset + gain * ((0 if bias is None else bias) - mean)
    like = _weight(linear)
    return Folded(_times_outputs(linear, weight, gain).to(like), offset.to(like))


def _times_outputs(linear: nn.Module, weight: Tensor, gain: Tensor) -> Tensor:
    """The weight times one factor for each output channel.

    Output channels are axis 0, but of a transposed convolution, whose weight is
    `[inputs, outputs / groups, …]`: in the g-th part of the rows, axis 1 is the g-th part of them.
    """
    if not isinstance(linear, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return gain.reshape(-1, *[1] * (weight.ndim - 1)) * weight
    by_group = weight.unflatten(0, (linear.groups, -1))
    factors = gain.reshape(linear.groups, 1, -1, *[1] * (weight.ndim - 2))
    result: Tensor = (factors * by_group).flatten(0, 1)
    return result


@torch.no_grad()
def scaled(linear: nn.Module) -> Folded:
    """The weight that acts, with the scale of a `ScaledLinear` in it, and the bias.

    Args:
        linear: of a type in `OUTPUT_AXES`.

    Example:
        >>> linear = ScaledLinear(4, 2, bias=False)
        >>> torch.equal(scaled(linear).weight, linear.weight / 2)
        True
    """
    (weight, bias), like = _acting(linear), _weight(linear)
    return Folded(weight.to(like), None if bias is None else bias.to(like))


def _acting(linear: nn.Module) -> Folded:
    """The same in float64."""
    bias = linear.bias
    scale = linear.scale if isinstance(linear, ScaledLinear) else 1.0
    return Folded(
        scale * in_float64(_weight(linear)), in_float64(bias) if isinstance(bias, Tensor) else None
    )


def with_weights(linear: nn.Module, folded: Folded) -> nn.Module:
    """A module that maps as `linear` does, but by these weights.

    `linear` itself, changed, unless it is a `ScaledLinear`: an `nn.Linear` takes the place of that.
    """
    weight, bias = _weight(linear), linear.bias
    learns = weight.requires_grad
    if isinstance(linear, ScaledLinear):
        outputs, inputs = weight.shape
        plain = nn.Linear(inputs, outputs, bias=folded.bias is not None, device="meta")
        linear = plain.train(linear.training)
    linear.weight = nn.Parameter(folded.weight, requires_grad=learns)
    if folded.bias is not None:
        learns = bias.requires_grad if isinstance(bias, Tensor) else learns
        linear.bias = nn.Parameter(folded.bias, requires_grad=learns)
    return linear


def _weight(linear: nn.Module) -> Tensor:
    weight = linear.weight
    assert isinstance(weight, Tensor)
    return weight
