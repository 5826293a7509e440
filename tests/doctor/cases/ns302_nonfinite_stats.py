"""A batch that was not finite, and what surgery leaves behind."""

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import rows, small


def poisoned() -> nn.Sequential:
    """After one batch with one number that is not finite."""
    model = small()
    bad = rows()
    bad[3, 1] = torch.inf
    model(bad)
    return model


def bad_one_batch() -> Diagnosis:
    return check(poisoned())


def good_one_batch() -> Diagnosis:
    model = poisoned()
    recalibrate(model, [rows()])
    return check(model)


def bad_negative_variance() -> Diagnosis:
    model = small()
    model[1].running_var.copy_(model[1].running_mean - 1)
    diagnosis = check(model)
    finding = diagnosis.of("NS302")[0]
    assert finding.message.startswith("Of 8 channels, 8 running variances are negative; ")
    assert finding.evidence["bad variances"] == 0
    return diagnosis


def good_negative_variance() -> Diagnosis:
    model = small()
    model[1].running_var.copy_(model[1].running_mean.abs() + 1)
    return check(model)


def deep(value: float) -> nn.Sequential:
    """Three batch norms, of which two have a number like that; the second is reached first."""

    class Backwards(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self[0](self[1](self[2](x)))

    model = Backwards(*(nn.BatchNorm1d(4) for _ in range(3)))
    for norm in (model[0], model[2]):
        norm.running_mean[1] = value
    return model


def bad_many_layers_one_finding() -> Diagnosis:
    diagnosis = check(deep(torch.nan), [rows()])
    (finding,) = diagnosis.of("NS302")
    assert finding.module == "2"  # is called first
    assert "(and 1 more layer)" in finding.message
    assert finding.evidence["layers"] == finding.evidence["bad means"] == 2
    assert check(deep(torch.nan)).of("NS302")[0].module == "0"  # defined first
    return diagnosis


def good_many_layers_one_finding() -> Diagnosis:
    return check(deep(0.5), [rows()])


def silent_large_but_finite() -> Diagnosis:
    model = small()
    model[1].running_var.fill_(1e30)
    return check(model)
