"""A check as a line of a test."""

import subprocess
import sys

import pytest
import torch

import normscope
from tests.doctor.networks import rows, small


def poisoned() -> torch.nn.Sequential:
    model = small()
    model[1].running_var[0] = torch.nan
    return model


def test_a_healthy_model_passes_and_gives_its_diagnosis() -> None:
    diagnosis = normscope.assert_healthy(small(), [rows()])
    assert "NS302" in diagnosis.silent


def test_a_finding_raises_with_its_message_and_fix() -> None:
    with pytest.raises(AssertionError, match=r"(?s)error NS302 .* in 1: .*\n  Fix: .*recalibrate"):
        normscope.assert_healthy(poisoned())


def test_how_bad_it_has_to_be_is_a_choice() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    told = normscope.check(model).at_least("info")
    assert told, "a bias before a norm is worth a note"
    normscope.assert_healthy(model, at="warning")
    with pytest.raises(AssertionError, match=told[0].code):
        normscope.assert_healthy(model, at="info")


def test_what_is_on_purpose_passes() -> None:
    reasons = {"NS302": "this test made it so"}
    diagnosis = normscope.assert_healthy(poisoned(), suppress=reasons)
    assert [each.reason for each in diagnosis.suppressed] == ["this test made it so"]


def test_it_needs_no_pytest() -> None:
    code = "import normscope, sys; normscope.assert_healthy; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
