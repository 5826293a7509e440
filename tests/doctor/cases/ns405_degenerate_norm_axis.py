"""Group norm on vectors, layer norm over one number, and a batch norm over time steps."""

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import rows

SEQUENCES = [torch.stack([rows(32, seed=10 * n + t) for t in range(6)], dim=1) for n in range(8)]
"""Batches of `[32, 6, 4]`: rows, positions, features."""


def replaced(groups: int) -> nn.Sequential:
    """Its batch norm became a group norm."""
    return nn.Sequential(nn.Linear(4, 8), nn.GroupNorm(groups, 8), nn.ReLU(), nn.Linear(8, 3))


class Recurrent(nn.Module):
    """An LSTM over sequences, and a batch norm on what it gives."""

    def __init__(self, *, transposed: bool, width: int = 6) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.lstm = nn.LSTM(4, width, batch_first=True)
            self.norm = nn.BatchNorm1d(6)
            self.head = nn.Linear(width, 3)
        self.transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x)
        out = self.norm(out.transpose(1, 2)).transpose(1, 2) if self.transposed else self.norm(out)
        return self.head(out[:, -1])


def after_pooling(*, norm: nn.Module) -> Diagnosis:
    """An instance norm behind a global pooling: torch raises."""
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), norm, nn.Flatten())
    return check(model, [torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))])


def bad_instance_norm_after_pooling() -> Diagnosis:
    return after_pooling(norm=nn.InstanceNorm2d(8))


def good_instance_norm_after_pooling() -> Diagnosis:
    return after_pooling(norm=nn.GroupNorm(2, 8))


def bad_group_norm() -> Diagnosis:
    diagnosis = check(replaced(8), [rows()])
    assert diagnosis.of("NS405")[0].severity == "error"
    return diagnosis


def good_group_norm() -> Diagnosis:
    return check(replaced(2), [rows()])


def bad_layer_norm() -> Diagnosis:
    """Certain without data."""
    diagnosis = check(nn.Sequential(nn.Linear(4, 1), nn.LayerNorm(1)))
    assert diagnosis.of("NS405")[0].severity == "error"
    return diagnosis


def good_layer_norm() -> Diagnosis:
    return check(nn.Sequential(nn.Linear(4, 2), nn.LayerNorm(2)))


def bad_time_steps() -> Diagnosis:
    model = Recurrent(transposed=False)
    recalibrate(model, SEQUENCES)
    diagnosis = check(model, SEQUENCES)
    (finding,) = diagnosis.of("NS405")
    assert (finding.severity, finding.module) == ("warning", "norm")
    assert float(finding.evidence["deviation between features"]) > 0.2
    return diagnosis


def good_time_steps() -> Diagnosis:
    return check(Recurrent(transposed=True), SEQUENCES)


def bad_positions_behind_an_activation() -> Diagnosis:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6))
    return check(model, SEQUENCES)


def good_positions_behind_an_activation() -> Diagnosis:
    """A convolution gives its channels on axis 1."""
    model = nn.Sequential(nn.Conv1d(4, 6, 1), nn.ReLU(), nn.BatchNorm1d(6))
    return check(model, [batch.transpose(1, 2) for batch in SEQUENCES])


def silent_chosen_positions() -> Diagnosis:
    """Six positions and five features: somebody chose the six."""
    diagnosis = check(Recurrent(transposed=False, width=5), SEQUENCES)
    assert diagnosis.of("NS405")
    return diagnosis


def silent_maps() -> Diagnosis:
    """On maps, one channel per group is an instance norm."""
    images = rows(8, 2 * 5 * 5).reshape(8, 2, 5, 5)
    diagnosis = check(nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(4, 4)), [images])
    assert not diagnosis.of("NS405")
    return diagnosis
