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
    return check(model)


def good_negative_variance() -> Diagnosis:
    model = small()
    model[1].running_var.copy_(model[1].running_mean.abs() + 1)
    return check(model)


def silent_large_but_finite() -> Diagnosis:
    model = small()
    model[1].running_var.fill_(1e30)
    return check(model)
