"""What receipts call a layer: as the model that a person wrote does, whatever is around it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from normscope.records import Receipt
from normscope.surgery import freeze, recalibrate, set_momentum, unfreeze


def recalibrated(model: nn.Module) -> Receipt:
    return recalibrate(model, torch.randn(40, 3).split(20))


def unfrozen(model: nn.Module) -> Receipt:
    freeze(model)
    return unfreeze(model)


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m, nn.DataParallel, lambda m: torch.compile(m, backend="eager"), AveragedModel],
)
@pytest.mark.parametrize("repair", [recalibrated, freeze, unfrozen, lambda m: set_momentum(m, 0.2)])
def test_paths_are_plain(
    wrap: Callable[[nn.Module], nn.Module], repair: Callable[[nn.Module], Receipt]
) -> None:
    inside = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model = wrap(inside)
    assert [change.module for change in repair(model).changed] == ["1"]
    names = [name for name, _ in model.named_modules() if name.endswith("1")]
    assert (names == ["1"]) == (model is inside), "the control"
