"""One group for everything; a list that forgot a class; and splits that are meant."""

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import exempt_norms, parameter_groups
from tests.doctor.networks import batches, labelled, small


class RootNorm(nn.Module):
    """Somebody's own: root mean square, a gain."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x * (x.square().mean(dim=-1, keepdim=True) + 1e-6).rsqrt()


def everything(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.05)


def bad_one_group() -> Diagnosis:
    model = small()
    diagnosis = check(model, optimizer=everything(model))
    assert diagnosis.of("NS601")[0].severity == "info"
    return diagnosis


def good_one_group() -> Diagnosis:
    model = small()
    return check(
        model, optimizer=torch.optim.AdamW(parameter_groups(model, weight_decay=0.05), lr=0.001)
    )


def bad_own_class() -> Diagnosis:
    model = nn.Sequential(nn.Linear(4, 8), RootNorm(8))
    return check(model, optimizer=everything(model))


def good_own_class() -> Diagnosis:
    model = nn.Sequential(nn.Linear(4, 8), RootNorm(8))
    optimizer = everything(model)
    exempt_norms(optimizer, model)
    return check(model, optimizer=optimizer)


def two_norms() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.LayerNorm(8),
        nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def forgetful(model: nn.Sequential) -> torch.optim.Optimizer:
    """Exempts by one class, as ClassyVision did."""
    spared = [p for m in model.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    rest = [p for p in model.parameters() if all(p is not other for other in spared)]
    return torch.optim.SGD(
        [{"params": rest, "weight_decay": 0.05}, {"params": spared, "weight_decay": 0.0}], lr=0.1
    )


def train(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for _ in range(40):
        for x, y in batches(*labelled()):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()


def bad_forgotten_class() -> Diagnosis:
    """Not yet trained: no harm, so information."""
    model = two_norms()
    (found,) = check(model, optimizer=forgetful(model)).of("NS601")
    assert found.severity == "info"
    assert "forgotten" in found.message
    return check(model, optimizer=forgetful(model))


def good_forgotten_class() -> Diagnosis:
    model = two_norms()
    optimizer = forgetful(model)
    exempt_norms(optimizer, model)
    return check(model, optimizer=optimizer)


def bad_forgotten_class_trained() -> Diagnosis:
    model = two_norms()
    optimizer = forgetful(model)
    train(model, optimizer)
    diagnosis = check(model, optimizer=optimizer)
    (found,) = diagnosis.of("NS601")
    assert found.severity == "warning", found
    assert found.evidence["gains, decayed to exempt"] < 0.9
    return diagnosis


def good_forgotten_class_trained() -> Diagnosis:
    model = two_norms()
    optimizer = forgetful(model)
    exempt_norms(optimizer, model)
    train(model, optimizer)
    return check(model, optimizer=optimizer)


def silent_no_decay() -> Diagnosis:
    model = small()
    diagnosis = check(model, optimizer=torch.optim.Adam(model.parameters()))
    assert not diagnosis.of("NS601")
    return diagnosis


def silent_frozen() -> Diagnosis:
    """Without gradients nothing is decayed."""
    model = small()
    model[1].requires_grad_(False)
    diagnosis = check(model, optimizer=everything(model))
    assert not diagnosis.of("NS601")
    return diagnosis


def silent_only_biases_are_spared() -> Diagnosis:
    """A choice: gains decay, shifts do not."""
    model = small()
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    rest = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    with torch.no_grad():
        model[1].weight.fill_(0.01)
    groups = [{"params": rest}, {"params": biases, "weight_decay": 0.0}]
    diagnosis = check(model, optimizer=torch.optim.AdamW(groups, weight_decay=0.05))
    assert "forgotten" not in diagnosis.of("NS601")[0].message
    return diagnosis


def silent_a_part_without_decay() -> Diagnosis:
    """A head whose weights are not decayed either: no list of norms."""
    model = nn.ModuleDict({"body": small(), "head": small(seed=1)})
    with torch.no_grad():
        model["body"][1].weight.fill_(0.01)
    groups = [
        {"params": list(model["body"].parameters()), "weight_decay": 0.05},
        {"params": list(model["head"].parameters()), "weight_decay": 0.0},
    ]
    return check(model, optimizer=torch.optim.SGD(groups, lr=0.1))
