"""A U-Net's double convolution, and a critic whose norms were made optional."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows


def double_convolution(*, bias: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 4, 3, bias=bias), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Conv2d(4, 2, 1),
    )  # fmt: skip


def critic(*, first_bias: bool) -> nn.Sequential:
    """The first convolution has no norm."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, bias=first_bias), nn.LeakyReLU(0.2),
        nn.Conv2d(4, 8, 4, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 1, 4),
    )  # fmt: skip


class Untraceable(nn.Module):
    """Its way depends on its data; its parts can be followed all the same."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.body = double_convolution(bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) if x.sum() > 0 else self.body(-x)


def bad_double_convolution() -> Diagnosis:
    diagnosis = check(double_convolution(bias=True))
    assert diagnosis.of("NS201")[0].evidence == {"layers": 2, "parameters": 8}
    assert "two axes" not in diagnosis.of("NS201")[0].message, "of convolutions it is axis 1"
    return diagnosis


def good_double_convolution() -> Diagnosis:
    return check(double_convolution(bias=False))


def bad_missing() -> Diagnosis:
    diagnosis = check(critic(first_bias=False))
    assert [finding.module for finding in diagnosis.of("NS201")] == ["0"]
    return diagnosis


def good_missing() -> Diagnosis:
    return check(critic(first_bias=True))


def bad_in_a_part() -> Diagnosis:
    diagnosis = check(Untraceable(bias=True))
    assert diagnosis.of("NS201")[0].module == "body.0"
    return diagnosis


def good_in_a_part() -> Diagnosis:
    return check(Untraceable(bias=False))


def bad_instance_norm() -> Diagnosis:
    """It subtracts the mean in eval mode as well."""
    return check(nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4)).eval())


def good_instance_norm() -> Diagnosis:
    return check(nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.InstanceNorm2d(4)).eval())


def bad_one_channel_per_group() -> Diagnosis:
    return check(nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(4, 4)))


def good_one_channel_per_group() -> Diagnosis:
    return check(nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)))


def bad_with_data() -> Diagnosis:
    """In training mode when it was handed over, whatever the check does with it."""
    diagnosis = check(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), [rows()])
    assert "two axes" not in diagnosis.of("NS201")[0].message, "the data showed it"
    return diagnosis


def good_with_data() -> Diagnosis:
    return check(nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)), [rows()])


def bad_of_a_linear_layer_without_data() -> Diagnosis:
    """Of `[N, L, C]` it would be another axis, and nobody knows: see `silent_positions`."""
    diagnosis = check(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)))
    assert "if what nn.Linear is given here has two axes" in diagnosis.of("NS201")[0].message
    return diagnosis


def good_of_a_linear_layer_without_data() -> Diagnosis:
    return check(nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)))


def silent_positional_norms_behind_a_linear_layer() -> Diagnosis:
    """They take inputs with more axes than two alone."""
    norms = nn.BatchNorm2d(6), nn.BatchNorm3d(6), nn.InstanceNorm1d(6)
    found = [check(nn.Sequential(nn.Linear(4, 6), norm)) for norm in norms]
    assert not any(diagnosis.of("NS201") for diagnosis in found)
    return found[0]


def silent_frozen() -> Diagnosis:
    """In eval mode the running mean is subtracted, and the bias stays."""
    model = double_convolution(bias=True)
    for norm in (model[1], model[4]):
        norm.eval()
    diagnosis = check(model)
    assert not diagnosis.of("NS201")
    return diagnosis


class SharedTower(nn.Module):
    """Its convolution goes into a norm, and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.norm(x) + x


def silent_shared() -> Diagnosis:
    diagnosis = check(SharedTower())
    assert not diagnosis.of("NS201")
    return diagnosis


def silent_positions() -> Diagnosis:
    """Of `[N, L, C]` a batch norm subtracts the mean of each position, not of each channel."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    diagnosis = check(model, [torch.stack([rows(8, seed=seed) for seed in range(6)], dim=1)])
    assert not diagnosis.of("NS201")
    return diagnosis


def silent_transformer() -> Diagnosis:
    """Maps without bias are the rule where no batch norm is."""
    widths = (4, 8, 8, 2)
    layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
    diagnosis = check(nn.Sequential(layers[0], nn.GELU(), layers[1], nn.LayerNorm(8), layers[2]))
    assert not diagnosis.of("NS201")
    return diagnosis
