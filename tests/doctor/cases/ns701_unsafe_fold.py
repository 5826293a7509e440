"""A shared convolution, weight norm, positions, layers defined in another order, zero filters."""

import warnings

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import rows

ERROR = "largest error of torch's fuse, relative"
MAPS = [rows(8, 2 * 5, seed=seed).reshape(8, 2, 5) for seed in range(8)]


def used(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """With statistics that are not those of a new one."""
    norm.running_mean.copy_(torch.linspace(-1, 1, norm.num_features))
    norm.running_var.copy_(torch.linspace(0.3, 3, norm.num_features))
    return norm


class Head(nn.Module):
    """One convolution for two levels, each with a norm of its own, or a convolution for each."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Conv1d(2, 2, 1), used(nn.BatchNorm1d(2))
        self.second = self.first if shared else nn.Conv1d(2, 2, 1)
        self.second_norm = used(nn.BatchNorm1d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.first_norm(self.first(x)) + self.second_norm(self.second(2 * x))


class Ordered(nn.Module):
    """Convolutions are defined first, then norms; or each with its norm."""

    def __init__(self, *, in_turn: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(2, 2, 1)
        if in_turn:
            self.norm1 = nn.BatchNorm1d(2)
        self.conv2 = nn.Conv1d(2, 2, 1)
        if not in_turn:
            self.norm1 = nn.BatchNorm1d(2)
        self.norm2 = nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))


def bad_shared() -> Diagnosis:
    diagnosis = check(Head(shared=True).eval(), MAPS)
    (finding,) = diagnosis.of("NS701")
    assert finding.evidence["of these by torch's fuse"] == 2
    assert float(finding.evidence[ERROR]) > 0.01
    return diagnosis


def good_shared() -> Diagnosis:
    return check(Head(shared=False).eval(), MAPS)


def weight_normed(*, removed: bool) -> nn.Sequential:
    conv = nn.Conv1d(2, 3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and in use
        nn.utils.weight_norm(conv)
        if removed:
            nn.utils.remove_weight_norm(conv)
    return nn.Sequential(conv, used(nn.BatchNorm1d(3))).eval()


def bad_weight_norm() -> Diagnosis:
    return check(weight_normed(removed=False))


def good_weight_norm() -> Diagnosis:
    return check(weight_normed(removed=True))


def over_positions(batches: list[Tensor]) -> Diagnosis:
    model = nn.Sequential(nn.Linear(5, 2), nn.BatchNorm1d(2)).eval()
    nn.init.constant_(model[0].bias, 1.0)
    recalibrate(model, batches)
    return check(model, batches)


def bad_positions() -> Diagnosis:
    diagnosis = over_positions(MAPS)
    (finding,) = diagnosis.of("NS701")
    assert float(finding.evidence[ERROR]) > 0.01
    return diagnosis


def good_positions() -> Diagnosis:
    return over_positions([rows(8, 5)] * 8)


def bad_order() -> Diagnosis:
    return check(Ordered(in_turn=False).eval(), MAPS)


def good_order() -> Diagnosis:
    return check(Ordered(in_turn=True).eval(), MAPS)


def pruned(*, absorbed: bool) -> nn.Sequential:
    model = nn.Sequential(nn.Conv1d(2, 3, 1, bias=False), used(nn.BatchNorm1d(3))).eval()
    with torch.no_grad():
        model[0].weight[2] = 0
        if absorbed:
            model[1].running_mean[2] = 0
    return model


def bad_zero_filter() -> Diagnosis:
    diagnosis = check(pruned(absorbed=False))
    (finding,) = diagnosis.of("NS701")
    assert finding.evidence["zero filters"] == 1
    return diagnosis


def good_zero_filter() -> Diagnosis:
    return check(pruned(absorbed=True))


def silent_zero_layer() -> Diagnosis:
    """A layer that starts at zero, as a whole, was not pruned."""
    model = nn.Sequential(nn.Conv1d(2, 3, 1, bias=False), used(nn.BatchNorm1d(3)))
    nn.init.zeros_(model[0].weight)
    diagnosis = check(model)
    assert not diagnosis.of("NS701")
    return diagnosis


class Forked(nn.Module):
    """What a convolution gives goes two ways: both through its norm, or one past it."""

    def __init__(self, *, past: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 2, 1), used(nn.BatchNorm1d(2))
        self.head, self.past = nn.Conv1d(2, 2, 1), past

    def forward(self, x: Tensor) -> Tensor:
        given = self.conv(x)
        positions = given.shape[-1] + given.size(-1)  # which no fold changes
        normed = self.norm(given)
        return (normed + self.head(given if self.past else normed)) / positions


def bad_two_consumers() -> Diagnosis:
    """A fuser by order folds what torch's leaves alone."""
    diagnosis = check(Forked(past=True).eval(), MAPS)
    (finding,) = diagnosis.of("NS701")
    assert finding.evidence == {"places": 1, "of these by torch's fuse": 0}
    assert "goes elsewhere as well" in finding.message
    return diagnosis


def good_two_consumers() -> Diagnosis:
    return check(Forked(past=False).eval(), MAPS)


class Twice(nn.Module):
    """A layer that torch's fuse does not know is called before its norm, and once more."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.conv, self.norm = nn.ConvTranspose1d(2, 2, 1), used(nn.BatchNorm1d(2))
        self.other = self.conv if shared else nn.ConvTranspose1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.norm(self.conv(x)))


def bad_called_twice() -> Diagnosis:
    diagnosis = check(Twice(shared=True).eval(), MAPS)
    (finding,) = diagnosis.of("NS701")
    assert "is called at 2 sites" in finding.message
    assert finding.evidence["places"] == 1
    return diagnosis


def good_called_twice() -> Diagnosis:
    return check(Twice(shared=False).eval(), MAPS)
