"""A backbone that asks for no gradients, and moves its statistics all the same."""

import copy

import torch
from torch import Tensor, nn

from normscope.doctor import check, watch
from normscope.records import Diagnosis
from normscope.surgery import freeze
from tests.doctor.loops import plain, watched
from tests.doctor.networks import rows, small


def linear_probe() -> nn.Sequential:
    """A frozen backbone, and a head that trains."""
    backbone = small().requires_grad_(False)
    return nn.Sequential(backbone, nn.Linear(3, 2))


def bad_linear_probe() -> Diagnosis:
    diagnosis = check(linear_probe())
    assert 'normscope.freeze(model, "0").' in diagnosis.of("NS501")[0].fix
    return diagnosis


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


def with_head_optimizer(*, frozen: bool) -> Diagnosis:
    """Everything asks for gradients; the optimizer was given the head alone."""
    model = linear_probe().requires_grad_(True)
    if frozen:
        freeze(model, "0")
    return check(model.train(), optimizer=torch.optim.SGD(model[1].parameters(), lr=0.1))


def bad_left_out_by_the_optimizer() -> Diagnosis:
    return with_head_optimizer(frozen=False)


def good_left_out_by_the_optimizer() -> Diagnosis:
    return with_head_optimizer(frozen=True)


class WithoutGradients(nn.Module):
    """Features are computed under no_grad; their norm is in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = small()
        self.head = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.backbone(x)
        return self.head(features)


def bad_called_under_no_grad() -> Diagnosis:
    diagnosis = watched(plain, model=WithoutGradients())
    assert diagnosis.of("NS501")[0].module == "backbone.1"
    return diagnosis


def good_called_under_no_grad() -> Diagnosis:
    model = WithoutGradients()
    freeze(model, "backbone")
    return watched(plain, model=model.train())


class Momentum(nn.Module):
    """MoCo and BYOL: a second encoder follows the first."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = small()
        self.follower = copy.deepcopy(self.encoder).requires_grad_(False)
        self.encoder[0].weight.data += 0.1  # it is ahead

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            key = self.follower(x)
        return self.encoder(x) - key


def silent_momentum_encoder() -> Diagnosis:
    return watched(plain, model=Momentum())


def head_alone(*, frozen: bool) -> Diagnosis:
    """Everything asks for gradients, every batch norm is in the backbone, and the head trains."""
    model = linear_probe().requires_grad_(True)
    if frozen:
        freeze(model, "0")
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.1)
    with watch(model.train(), optimizer) as loop:
        for number in range(6):
            optimizer.zero_grad()
            plain(model, number).backward()
            optimizer.step()
    return loop.diagnosis()


def bad_head_alone() -> Diagnosis:
    return head_alone(frozen=False)


def good_head_alone() -> Diagnosis:
    return head_alone(frozen=True)


def silent_a_norm_of_the_inputs_has_nothing_to_learn() -> Diagnosis:
    """In the place of a standardization of the columns."""
    return watched(plain, model=nn.Sequential(nn.BatchNorm1d(4, affine=False), small()))


def silent_statistics_adapt_in_a_loop() -> Diagnosis:
    """AdaBN: steps of something else, and no parameter of the model changes."""
    model, other = small(), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    with watch(model, optimizer) as loop:
        for number in range(6):
            optimizer.zero_grad()
            model(rows(seed=number))
            other(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    return loop.diagnosis()


def silent_nothing_trains() -> Diagnosis:
    """AdaBN, and a teacher by itself."""
    return check(small().requires_grad_(False))


def silent_only_gamma_and_beta_are_fixed() -> Diagnosis:
    model = small()
    model[1].requires_grad_(False)
    return check(model)
