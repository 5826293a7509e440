"""Batch norms in a plain list, in a dictionary, and built inside a forward."""

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small

DATA = [rows(32, seed=seed) for seed in range(8)]
MOVED = "change by other rows in the batch, in deviations"


class Listed(nn.Module):
    """Two layers, each with its norm, in lists of the one or the other kind."""

    def __init__(self, kind: type[list[nn.Module]] | type[nn.ModuleList]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.norms = kind([nn.BatchNorm1d(4), nn.BatchNorm1d(4)])

    def forward(self, x: Tensor) -> Tensor:
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = torch.relu(norm(layer(x)))
        return x


class Built(nn.Module):
    """A norm that is new at every call, or not."""

    def __init__(self, *, inside: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)
        self.norm = None if inside else nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        norm = self.norm or nn.BatchNorm1d(4)
        return norm(self.layer(x))


class Hides(nn.Module):
    """Keeps another network out of its state dict."""

    def __init__(self, hidden: nn.Module) -> None:
        super().__init__()
        self.body = small()
        self.hidden = {"teachers": [hidden]}

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) - self.hidden["teachers"][0](x)


def bad_list() -> Diagnosis:
    diagnosis = check(Listed(list))
    (finding,) = diagnosis.of("NS204")
    assert (finding.severity, finding.module) == ("error", "norms[0]")
    assert finding.evidence == {"norm layers": 2, "parameters": 16}
    return diagnosis


def good_list() -> Diagnosis:
    return check(Listed(nn.ModuleList))


def bad_list_with_data() -> Diagnosis:
    model = Listed(list)
    diagnosis = check(model, DATA)
    (finding,) = diagnosis.of("NS204")
    assert finding.severity == "error"
    assert float(finding.evidence[MOVED]) > 0.05
    assert int(model.norms[0].num_batches_tracked) == 0  # left as it was
    assert model.norms[0].running_mean.abs().max() == 0
    return diagnosis


def good_list_with_data() -> Diagnosis:
    return check(Listed(nn.ModuleList), DATA)


def bad_built_in_forward() -> Diagnosis:
    diagnosis = check(Built(inside=True), DATA)
    (finding,) = diagnosis.of("NS204")
    assert finding.severity == "error"
    assert "ns204_unregistered_norm.py:" in finding.message
    assert float(finding.evidence[MOVED]) > 0.05
    return diagnosis


def good_built_in_forward() -> Diagnosis:
    return check(Built(inside=False), DATA)


def bad_built_unseen() -> Diagnosis:
    """Without data nobody knows what the module is."""
    diagnosis = check(Built(inside=True))
    assert diagnosis.of("NS204")[0].severity == "info"
    return diagnosis


def good_built_unseen() -> Diagnosis:
    return check(Built(inside=False))


def silent_frozen_teacher() -> Diagnosis:
    """Hidden on purpose, in eval mode, with nothing to train."""
    diagnosis = check(Hides(small().eval().requires_grad_(requires_grad=False)), DATA)
    assert diagnosis.of("NS204")[0].module == "hidden['teachers'][0]"
    return diagnosis


class Remembers(nn.Module):
    """Has another network in a list that its forward does not call."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small()
        self.others = [small(seed=1)]

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def silent_not_called() -> Diagnosis:
    """The network that it learns from is trained elsewhere."""
    diagnosis = check(Remembers(), DATA)
    assert diagnosis.of("NS204")
    return diagnosis


def silent_second_name() -> Diagnosis:
    """A list of modules that are registered elsewhere."""
    model = small()
    model.all_layers = list(model)
    diagnosis = check(model, DATA)
    assert not diagnosis.of("NS204")
    return diagnosis


def silent_without_norms() -> Diagnosis:
    """A list of linear layers is a mistake, but not one of normalization."""
    diagnosis = check(Hides(nn.Linear(4, 3)))
    assert all(finding.severity == "info" for finding in diagnosis.of("NS204"))
    return diagnosis
