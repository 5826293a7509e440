"""A network that was ported from Keras, but for one layer."""

from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis


def ported(*eps: float, variance: float) -> nn.Sequential:
    """Batch norms with these eps, and one running variance for all."""
    model = nn.Sequential(*(nn.BatchNorm1d(8, eps=each) for each in eps))
    for norm in model:
        norm.running_var.fill_(variance)
    return model


def bad_one_forgotten_layer() -> Diagnosis:
    diagnosis = check(ported(1e-3, 1e-3, 1e-5, variance=1e-3))
    (finding,) = diagnosis.of("NS102")
    assert (finding.severity, finding.module) == ("warning", "2")
    assert abs(finding.evidence["largest change of gain"] - (1 - (1.01 / 2) ** 0.5)) < 1e-6
    return diagnosis


def good_one_forgotten_layer() -> Diagnosis:
    return check(ported(1e-3, 1e-3, 1e-3, variance=1e-3))


def silent_backbone_and_head() -> Diagnosis:
    """Where variances are of order 1 it hardly matters: a note."""
    diagnosis = check(ported(1e-3, 1e-3, 1e-5, 1e-5, variance=1.0))
    (finding,) = diagnosis.of("NS102")
    assert finding.evidence["largest change of gain"] < 1e-3
    assert "(and 1 more layer)" in finding.message
    return diagnosis


def silent_another_kind_of_norm() -> Diagnosis:
    diagnosis = check(nn.Sequential(nn.BatchNorm1d(4), nn.LayerNorm(4, eps=1e-12)))
    assert not diagnosis.of("NS102")
    return diagnosis


def silent_eps_of_zero() -> Diagnosis:
    model = ported(0.0, 1e-5, variance=1.0)
    model[0].running_var[0] = 0
    return check(model)
