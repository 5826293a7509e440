"""Dropout between a layer and its batch norm, and where it belongs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import batches, labelled, trained

DATA = batches(*labelled(2048), size=256)


def network(*, dropout_first: bool, chance: float = 0.5) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        dropout, norm = nn.Dropout(chance), nn.BatchNorm1d(16)
        between = [dropout, norm] if dropout_first else [norm, dropout]
        return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), *between, nn.Linear(16, 3))


def bad_first() -> Diagnosis:
    torch.manual_seed(0)
    diagnosis = check(trained(network(dropout_first=True), DATA, epochs=4), DATA)
    (finding,) = diagnosis.of("NS202")
    assert finding.severity == "warning"
    assert float(finding.evidence["deviation with dropout / without"]) > 1.2
    return diagnosis


def good_first() -> Diagnosis:
    torch.manual_seed(0)
    return check(trained(network(dropout_first=False), DATA, epochs=4), DATA)


def bad_static() -> Diagnosis:
    diagnosis = check(network(dropout_first=True))
    assert diagnosis.of("NS202")[0].severity == "info"
    return diagnosis


def good_static() -> Diagnosis:
    return check(network(dropout_first=False))


def silent_recalibrated() -> Diagnosis:
    """The statistics are those without dropout: it is still there, and does no harm in eval."""
    torch.manual_seed(0)
    model = trained(network(dropout_first=True), DATA, epochs=4)
    recalibrate(model, DATA)
    diagnosis = check(model, DATA)
    assert diagnosis.of("NS202")
    return diagnosis


def silent_little() -> Diagnosis:
    torch.manual_seed(0)
    model = trained(network(dropout_first=True, chance=0.02), DATA, epochs=4)
    return check(model, DATA)


def silent_none() -> Diagnosis:
    diagnosis = check(network(dropout_first=True, chance=0.0))
    assert not diagnosis.of("NS202")
    return diagnosis


class DenseLayer(nn.Module):
    """Dropout as a function, as DenseNet has it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        new = F.dropout(self.first(x), 0.2, self.training)
        return self.second(self.norm(torch.cat([x, new], 1)))


def silent_dense() -> Diagnosis:
    diagnosis = check(DenseLayer())
    assert diagnosis.of("NS202")
    return diagnosis


def silent_behind_another_norm() -> Diagnosis:
    """A layer norm between them takes the dropout's scale away."""
    model = nn.Sequential(nn.Dropout(0.5), nn.LayerNorm(4), nn.Linear(4, 8), nn.BatchNorm1d(8))
    diagnosis = check(model)
    assert not diagnosis.of("NS202")
    return diagnosis
