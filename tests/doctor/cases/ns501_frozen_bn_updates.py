"""A backbone that asks for no gradients, and moves its statistics all the same."""

import copy

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import freeze
from tests.doctor.loops import plain, watched
from tests.doctor.networks import small


def linear_probe() -> nn.Sequential:
    """A frozen backbone, and a head that trains."""
    backbone = small().requires_grad_(False)
    return nn.Sequential(backbone, nn.Linear(3, 2))


def bad_linear_probe() -> Diagnosis:
    return check(linear_probe())


def good_linear_probe() -> Diagnosis:
    model = linear_probe()
    freeze(model, "0")
    return check(model.train())


def bad_watched() -> Diagnosis:
    diagnosis = watched(plain, model=linear_probe())
    assert float(diagnosis.of("NS501")[0].evidence["moved deviations"]) > 0.05
    return diagnosis


def good_watched() -> Diagnosis:
    model = linear_probe()
    freeze(model, "0")
    return watched(plain, model=model.train())


def bad_no_parameters_of_its_own() -> Diagnosis:
    """Without gamma and beta, the weight before it decides."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    return check(model)


def good_no_parameters_of_its_own() -> Diagnosis:
    """SimSiam's last norm: nothing to train in it, and a weight before it that trains."""
    return check(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)))


class Momentum(nn.Module):
    """MoCo and BYOL: a second encoder follows the first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = small()
        self.follower = copy.deepcopy(self.encoder).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            key = self.follower(x)
        return self.encoder(x) - key


def silent_momentum_encoder() -> Diagnosis:
    return watched(plain, model=Momentum())


def silent_nothing_trains() -> Diagnosis:
    """AdaBN, and a teacher by itself."""
    return check(small().requires_grad_(False))


def silent_only_gamma_and_beta_are_fixed() -> Diagnosis:
    model = small()
    model[1].requires_grad_(False)
    return check(model)
