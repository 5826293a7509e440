"""What was suppressed, and what was meant to be."""

import math

import pytest
import torch
from torch import nn

from normscope.doctor import check
from tests.doctor.networks import small


def poisoned() -> nn.Module:
    model = small()
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, nn.BatchNorm1d)).running_var[0] = math.nan
    return model


def test_a_suppression_that_is_used_is_no_note() -> None:
    diagnosis = check(poisoned(), suppress={"NS302:*": "made so", "bias-before-norm": "old code"})
    assert {each.finding.code for each in diagnosis.suppressed} == {"NS201", "NS302"}
    assert diagnosis.notes == ()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("NS302:nope.*", "Sequential has no module or parameter 'nope.*'"),
        ("NS302:0", "NS302 found nothing there"),
        ("nonfinite-stats:0.weight", "nonfinite-stats found nothing there"),
        ("NS306", "NS306 found nothing there"),
        ("NS401", "NS401 did not look"),
        ("norm-decay", "norm-decay did not look"),
    ],
)
def test_one_that_suppressed_nothing_is_told_with_the_reason(key: str, why: str) -> None:
    diagnosis = check(poisoned(), suppress={key: "on purpose"})
    assert diagnosis.notes == (f"suppress: {key!r} suppressed nothing: {why}.",)
    assert diagnosis.of("NS302")
