"""Statistics, counters and settings that make no sense: the rules about them look, and go on."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from normscope.doctor._case import Case
from normscope.doctor._rules import Found, all_rules
from tests.doctor.networks import small

RULES = [rule for rule in all_rules() if rule.code in {"NS101", "NS102"} or rule.code[2] == "3"]

ODD: dict[str, Callable[[nn.BatchNorm1d], object]] = {
    "a counter that is NaN": lambda n: setattr(n, "num_batches_tracked", torch.tensor(torch.nan)),
    "a counter below zero": lambda n: n.num_batches_tracked.fill_(-5),
    "a huge counter": lambda n: n.num_batches_tracked.fill_(2**62),
    "no counter": lambda n: setattr(n, "num_batches_tracked", None),
    "momentum NaN": lambda n: setattr(n, "momentum", torch.nan),
    "momentum below zero": lambda n: setattr(n, "momentum", -1),
    "momentum 2": lambda n: setattr(n, "momentum", 2.0),
    "momentum as a tensor": lambda n: setattr(n, "momentum", torch.tensor(0.1)),
    "eps NaN": lambda n: setattr(n, "eps", torch.nan),
    "float8": lambda n: n.to(torch.float8_e4m3fn),
    "complex": lambda n: setattr(n, "running_var", torch.ones(8, dtype=torch.complex64)),
    "whole numbers": lambda n: setattr(n, "running_mean", torch.zeros(8, dtype=torch.int32)),
    "too short": lambda n: setattr(n, "running_var", torch.ones(5)),
    "empty": lambda n: (
        setattr(n, "running_mean", torch.zeros(0)),
        setattr(n, "running_var", torch.zeros(0)),
    ),
    "sparse": lambda n: setattr(n, "running_mean", torch.zeros(8).to_sparse()),
    "on no device": lambda n: n.to("meta"),
}


def found_in(model: nn.Module) -> list[Found]:
    return [found for rule in RULES for found in rule.find(Case(model))]


def test_these_are_all() -> None:
    assert len(RULES) >= 8


@pytest.mark.parametrize("spoil", ODD.values(), ids=ODD.keys())
def test_nothing_raises_and_nothing_is_found(spoil: Callable[[nn.BatchNorm1d], object]) -> None:
    model = small()
    spoil(model[1])
    assert not found_in(model)


def test_a_division_by_zero_is_found() -> None:
    model = small()
    model[1].eps = 0.0
    model[1].running_var.zero_()
    (found,) = found_in(model)
    assert found.evidence["largest gain"] == torch.inf


def test_what_is_not_finite_is_found_in_any_format() -> None:
    model = small()
    model[1].running_mean[0] = torch.nan
    model[1].to(torch.float8_e4m3fn)
    (found,) = found_in(model)
    assert found.evidence["bad means"] == 1
