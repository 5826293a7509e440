"""What is read off norm layers: whether statistics are new, and how much of the start is left."""

import pytest
import torch
from torch import nn

from normscope.anatomy import RunningNorm


def norm(count: int | None = 0, momentum: float | None = 0.1) -> RunningNorm:
    module = nn.BatchNorm1d(3, momentum=momentum)
    module.num_batches_tracked = None if count is None else torch.tensor(count)
    return RunningNorm("norm", module)


def test_new_statistics_are_initial_until_one_number_moves() -> None:
    new = norm()
    assert new.has_initial_statistics
    new.module.running_mean[1] = 1e-8
    assert not new.has_initial_statistics
    assert not RunningNorm("", nn.BatchNorm1d(3, track_running_stats=False)).has_initial_statistics


@pytest.mark.parametrize("momentum", [0.01, 0.1, 0.9])
def test_the_initial_share_is_what_batches_of_zeros_leave_of_a_one(momentum: float) -> None:
    layer = nn.BatchNorm1d(1, momentum=momentum).double()
    for _ in range(7):
        layer(torch.zeros(4, 1, dtype=torch.float64))
    share = RunningNorm("", layer).initial_share
    assert share == pytest.approx(float(layer.running_var), rel=1e-12)


@pytest.mark.parametrize(
    ("count", "momentum"), [(0, 0.1), (None, 0.1), (-3, 0.1), (9, None), (9, 0.0), (9, 3.0)]
)
def test_a_counter_that_says_nothing_leaves_no_share(
    count: int | None, momentum: float | None
) -> None:
    """Statistics of old checkpoints have a counter of 0, and are not new for that."""
    assert norm(count, momentum).initial_share == 0
