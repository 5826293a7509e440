"""A batch norm of somebody's own that forgot to register its statistics."""

import numpy as np
import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows


class OwnNorm(nn.Module):
    """Written by hand."""

    def __init__(self, *, registered: bool = False) -> None:
        super().__init__()
        for name, value in (("moving_mean", torch.zeros(4)), ("moving_var", torch.ones(4))):
            if registered:
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.moving_mean = 0.9 * self.moving_mean + 0.1 * x.mean(0)
            self.moving_var = 0.9 * self.moving_var + 0.1 * x.var(0)
        return (x - self.moving_mean) / self.moving_var.sqrt()


def used(model: nn.Module) -> nn.Module:
    model(rows())
    return model


def bad_own_norm() -> Diagnosis:
    model = used(nn.Sequential(OwnNorm(), OwnNorm()))
    assert not model.state_dict()
    diagnosis = check(model)
    (finding,) = diagnosis.of("NS306")
    assert (finding.severity, finding.evidence["numbers that differ"]) == ("warning", 16)
    return diagnosis


def good_own_norm() -> Diagnosis:
    return check(used(nn.Sequential(OwnNorm(registered=True), OwnNorm(registered=True))))


class Observations(nn.Module):
    """Standardizes observations by arrays."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        mean = np.full(3, 2.0)
        if kind is np.ndarray:
            self.running_mean = mean
        else:
            self.register_buffer("running_mean", torch.from_numpy(mean))


def bad_array() -> Diagnosis:
    return check(Observations(np.ndarray))


def good_array() -> Diagnosis:
    return check(Observations(Tensor))


def bad_buffer_that_is_not_saved() -> Diagnosis:
    norm = nn.BatchNorm1d(4)
    norm.register_buffer("running_var", torch.full((4,), 2.0), persistent=False)
    return check(norm)


def good_buffer_that_is_not_saved() -> Diagnosis:
    norm = nn.BatchNorm1d(4)
    norm.running_var.fill_(2.0)
    return check(norm)


def silent_never_used() -> Diagnosis:
    diagnosis = check(OwnNorm())
    assert diagnosis.of("NS306")[0].severity == "info"
    return diagnosis


class Saves(OwnNorm):
    """Saves them its own way."""

    def get_extra_state(self) -> Tensor:
        return torch.stack([self.moving_mean, self.moving_var])

    def set_extra_state(self, state: Tensor) -> None:
        self.moving_mean, self.moving_var = state


def silent_saves_by_itself() -> Diagnosis:
    diagnosis = check(used(Saves()))
    assert not diagnosis.of("NS306")
    return diagnosis


def silent_something_else_that_runs() -> Diagnosis:
    model = nn.Linear(2, 2)
    model.running_loss, model.running_meaning = torch.ones(1), torch.ones(1)
    diagnosis = check(model)
    assert not diagnosis.of("NS306")
    return diagnosis
