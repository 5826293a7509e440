"""Constant features, pruned filters that leak, and gammas that are zero on purpose."""

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import labelled, rows, small, trained


def severity(diagnosis: Diagnosis) -> str:
    (finding,) = diagnosis.of("NS304")
    return finding.severity


def with_constant_feature(*, constant: bool) -> nn.Sequential:
    """Collected on rows of which one number never changes."""
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    inputs = rows()
    if constant:
        inputs[:, 2] = 7
    recalibrate(model, [inputs])
    return model.eval()


def bad_constant_feature() -> Diagnosis:
    diagnosis = check(with_constant_feature(constant=True))
    assert severity(diagnosis) == "warning"
    evidence = diagnosis.of("NS304")[0].evidence
    assert (evidence["channels"], evidence["of"]) == (1, 4)
    assert abs(evidence["largest gain"] - 1e-5**-0.5) < 0.1
    return diagnosis


def good_constant_feature() -> Diagnosis:
    return check(with_constant_feature(constant=False))


def bad_constant_feature_that_moves() -> Diagnosis:
    diagnosis = check(with_constant_feature(constant=True), [rows(seed=1)])
    assert severity(diagnosis) == "warning"
    return diagnosis


def good_constant_feature_that_moves() -> Diagnosis:
    return check(with_constant_feature(constant=False), [rows(seed=1)])


def silent_constant_feature_that_stays_put() -> Diagnosis:
    inputs = rows(seed=1)
    inputs[:, 2] = 7
    return check(with_constant_feature(constant=True), [inputs])


def pruned(*, cleanly: bool) -> nn.Module:
    """Two filters set to zero after the training."""
    inputs, labels = labelled()
    model = trained(small(), [(inputs + 2, labels)], epochs=20)
    with torch.no_grad():
        for parameter in (model[0].weight, model[0].bias):
            parameter[:2] = 0
        if cleanly:
            model[1].weight[:2] = model[1].bias[:2] = 0
    return model.eval()


def zeroed(*, mended: bool) -> Diagnosis:
    """Buffers that were made by zeros_like, or loaded from such a file."""
    model = small().eval()
    model[1].running_var.zero_()
    if mended:
        recalibrate(model, [rows()])
    return check(model)


def bad_all_variances_zero() -> Diagnosis:
    return zeroed(mended=False)


def good_all_variances_zero() -> Diagnosis:
    return zeroed(mended=True)


def bad_pruned_filter() -> Diagnosis:
    model = pruned(cleanly=False)
    diagnosis = check(model)
    assert severity(diagnosis) == "warning"
    leak = model[1](model[0](rows())).detach()[:, :2]
    told = diagnosis.of("NS304")[0].evidence["largest constant"]
    assert abs(told - float(leak.abs().max())) < 1e-5
    assert check(model, [rows()]).of("NS304")[0].evidence["largest constant"] == told
    return diagnosis


def good_pruned_filter() -> Diagnosis:
    return check(pruned(cleanly=True))


def silent_pruned_and_recalibrated() -> Diagnosis:
    """What is left is beta: a note."""
    model = pruned(cleanly=False)
    recalibrate(model, [rows() + 2])
    diagnosis = check(model)
    assert severity(diagnosis) == "info"
    return diagnosis


class Residual(nn.Module):
    """A block that starts as the identity, and that torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.linear.weight[0])

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.linear(x)) if x.sum() > 0 else x


def silent_residual_that_starts_as_the_identity() -> Diagnosis:
    diagnosis = check(Residual())
    assert not diagnosis.of("NS304")
    return diagnosis


def silent_died_in_training() -> Diagnosis:
    """A filter that decayed, with the statistics of what it gives: the gain makes up for it."""
    model = small()
    with torch.no_grad():
        model[0].weight[3] *= 1e-12
        model[0].bias[3] = 0
    recalibrate(model, [rows()])
    diagnosis = check(model)
    assert float(model[1].running_var[3]) < 1e-20
    assert not diagnosis.of("NS304")
    return diagnosis


def silent_slimmed() -> Diagnosis:
    model = small()
    with torch.no_grad():
        model[1].weight[:5] = 0
        model[1].bias[:5] = 0.3
    diagnosis = check(model)
    assert diagnosis.of("NS304")[0].evidence["channels"] == 5
    return diagnosis


def silent_statistics_as_of_a_trained_network() -> Diagnosis:
    norm = nn.BatchNorm1d(4096)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_(generator=generator)
        norm.running_var.uniform_(generator=generator)
    diagnosis = check(norm)
    assert not diagnosis.of("NS304")
    return diagnosis
