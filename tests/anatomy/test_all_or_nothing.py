"""A change that stays, or is undone as a whole."""

import pytest
import torch
from torch import nn

from normscope.anatomy import all_or_nothing


def change(model: nn.Sequential) -> None:
    model[1].momentum = 0.5
    model[1].running_mean.fill_(3.0)
    model[1].eval()
    model[0].bias = None
    model[1].weight.requires_grad_(False)
    vars(model[1])["train"] = print
    model[1].register_forward_hook(print)


def state(model: nn.Sequential) -> list[object]:
    norm = model[1]
    return [
        norm.momentum, norm.running_mean.tolist(), norm.training, model[0].bias is None,
        norm.weight.requires_grad, "train" in vars(norm), len(norm._forward_hooks),
    ]  # fmt: skip


def test_it_stays_where_nothing_raises() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with all_or_nothing(model):
        change(model)
    assert state(model) == [0.5, [3.0] * 3, False, True, False, True, 1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_all_of_it_is_undone_where_something_does(error: type[BaseException]) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    bias, before = model[0].bias, state(model)
    random = torch.get_rng_state()
    with pytest.raises(error), all_or_nothing(model):
        change(model)
        raise error
    assert state(model) == before
    assert model[0].bias is bias
    assert torch.equal(torch.get_rng_state(), random)
