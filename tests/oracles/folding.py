"""Eval-mode outputs derived without folding: float64, plain sums, one layer after another."""

import torch
from torch import Tensor, nn

from normscope.nn import MLP, ScaledLinear
from tests.oracles.mlp import acting_weight


def in_eval_by_hand(model: nn.Module, x: Tensor) -> Tensor:
    """What an `MLP`, or a Sequential of linear maps, norms and ReLUs, answers in eval mode."""
    x = x.double()
    if isinstance(model, MLP):
        for index, layer in enumerate(model.layers):
            x = _apply(layer.norm, _apply(layer.linear, x))
            x = x if index == len(model.layers) - 1 else torch.where(x > 0, x, torch.zeros_like(x))
        return x
    for module in model:
        x = _apply(module, x)
    return x


def _apply(module: nn.Module, x: Tensor) -> Tensor:
    if isinstance(module, nn.Linear | ScaledLinear):
        s = (x[:, None, :] * acting_weight(module)[None]).sum(-1)
        return s if module.bias is None else s + module.bias.detach().double()
    if isinstance(module, nn.ReLU):
        return torch.where(x > 0, x, torch.zeros_like(x))
    if isinstance(module, nn.Identity):
        return x
    y = (x - module.running_mean.double()) / torch.sqrt(module.running_var.double() + module.eps)
    if module.affine:
        y = y * module.weight.detach().double() + module.bias.detach().double()
    return y
