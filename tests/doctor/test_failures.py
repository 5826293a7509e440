"""Models that raise on their data: what can be said is said, and else the exception."""

import pytest
import torch
from torch import Tensor, nn

from normscope import OwnModelError, check
from tests.doctor.networks import rows, small


class Broken(nn.Module):
    """Raises when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).passes += 1
        msg = "no such key"
        raise KeyError(msg)

    passes = 0


def test_an_error_that_a_rule_finds_is_not_lost() -> None:
    model = Broken()
    model.norm.running_var[0] = torch.nan
    diagnosis = check(model, [rows()])
    assert diagnosis.worst == "error"
    assert diagnosis.of("NS302")
    assert any("no such key" in skipped.reason for skipped in diagnosis.skipped)


def test_what_nobody_explains_is_raised_with_its_batch() -> None:
    with pytest.raises(OwnModelError, match=r"batch 0 .*no such key"):
        check(Broken(), [rows()])


def test_a_model_that_raises_is_not_called_again_for_every_rule() -> None:
    """Once with the batch, and once by torch.fx."""
    Broken.passes = 0
    with pytest.raises(OwnModelError):
        check(Broken(), [rows()])
    assert Broken.passes <= 2


def test_rules_that_need_data_are_skipped_without() -> None:
    assert "NS401" in {skipped.code for skipped in check(small()).skipped}
