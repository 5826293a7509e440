"""Networks in which something about batch norm is known to be other than it should be."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 3.0
"""How far the planted shift moves a unit, in deviations."""


class Cut(nn.BatchNorm1d):
    """Batch norm through whose mean and variance no gradient flows."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        super().forward(x.detach())  # tracks
        variance, mean = torch.var_mean(x.detach(), 0, correction=0)
        return (x - mean) / (variance + self.eps).sqrt() * self.weight + self.bias


class Shift(nn.Module):
    """Moves and stretches every unit, by other numbers at every step."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (1 + torch.rand(x.shape[1])).to(x) + SIZE * torch.randn(x.shape[1]).to(x)


class Shifting(nn.BatchNorm1d):
    """The same inside the norm."""

    def forward(self, x: Tensor) -> Tensor:
        return Shift.forward(self, super().forward(x))


class _WithARadialPart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        ctx.save_for_backward(w)
        return w.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        return gradient + gradient.norm() / w.norm() * w


class Radial(nn.Linear):
    """A layer whose gradient has as much along its weights as at right angles to them."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, _WithARadialPart.apply(self.weight), self.bias)


PLANTED = {
    "healthy": (nn.Linear, lambda width: [nn.BatchNorm1d(width)]),
    "cut": (nn.Linear, lambda width: [Cut(width)]),
    "shift": (nn.Linear, lambda width: [nn.BatchNorm1d(width), Shift()]),
    "cut, shift": (nn.Linear, lambda width: [Cut(width), Shift()]),
    "shift-inside": (nn.Linear, lambda width: [Shifting(width)]),
    "radial": (Radial, lambda width: [nn.BatchNorm1d(width)]),
}


def network(norm: str = "batch", *, inputs: int, classes: int, planted: str) -> nn.Sequential:
    """Two hidden layers of 12 and 8; what is planted is in the place of batch norm."""
    linear, norms = PLANTED[planted]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in ((inputs, 12), (12, 8)):
        layers += [(linear if norm == "batch" else nn.Linear)(before, after)]
        layers += norms(after) if norm == "batch" else []
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(8, classes))
