"""Schedule-free optimizers, beside batch norms and beside none that move."""

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import freeze
from tests.doctor.networks import small


class ScheduleFree(torch.optim.SGD):
    """As far as anybody can see from outside."""

    def train(self) -> None:
        """Go to the weights of the gradients."""

    def eval(self) -> None:
        """Go to the average."""


def bad_schedule_free() -> Diagnosis:
    model = small()
    diagnosis = check(model, optimizer=ScheduleFree(model.parameters(), lr=0.1))
    assert diagnosis.worst == "info"
    return diagnosis


def good_schedule_free() -> Diagnosis:
    """Frozen statistics are nobody's average."""
    model = small()
    freeze(model)
    return check(model, optimizer=ScheduleFree(model.parameters(), lr=0.1))


def silent_without_running_statistics() -> Diagnosis:
    model = nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(2, 8))
    diagnosis = check(model, optimizer=ScheduleFree(model.parameters(), lr=0.1))
    assert not diagnosis.of("NS602")
    return diagnosis


def silent_another_optimizer() -> Diagnosis:
    model = small()
    diagnosis = check(model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    assert not diagnosis.of("NS602")
    return diagnosis
