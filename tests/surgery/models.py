"""Models with trained-looking statistics, and what the tests of folding share."""

import torch
from torch import Tensor, nn

from normscope.nn import MLP, BatchNorm, ScaledLinear
from normscope.records import Receipt
from normscope.surgery import fold


def trained_looking(model: nn.Module, seed: int = 0) -> nn.Module:
    """In eval mode, with every gamma, beta and running statistic drawn; gammas of both signs."""
    random = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            shape = module.running_mean.shape
            module.running_mean.copy_(torch.randn(shape, generator=random))
            module.running_var.copy_(torch.rand(shape, generator=random) * 2 + 0.1)
            if module.affine:
                with torch.no_grad():
                    module.weight.copy_(torch.randn(shape, generator=random))
                    module.bias.copy_(torch.randn(shape, generator=random))
    return model.eval()


def simple(**norm_options: object) -> nn.Sequential:
    """Two pairs and a last layer."""
    return trained_looking(
        nn.Sequential(
            nn.Linear(5, 7),
            nn.BatchNorm1d(7, **norm_options),
            nn.ReLU(),
            ScaledLinear(7, 6, bias=True),
            BatchNorm(6),
            nn.ReLU(),
            nn.Linear(6, 3),
        )
    )


def article(norm: object = BatchNorm, **options: object) -> MLP:
    """The article's network, small."""
    return trained_looking(MLP([36, 20, 10, 4], norm=norm, **options))


def rows(count: int = 9, width: int = 5) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count))


def reasons(receipt: Receipt) -> dict[str, str]:
    return {left.module: left.reason for left in receipt.left}


def why_left(model: nn.Module, example: object, path: str) -> str:
    """Fold a model of which something can be folded, and say why that module was left."""
    _, receipt = fold(model, example)
    assert path not in {change.module for change in receipt.changed}
    return reasons(receipt)[path]
