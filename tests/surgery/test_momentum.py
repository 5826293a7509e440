"""Momenta: set, converted, refused; statistics untouched; all or nothing."""

import pkgutil

import pytest
import torch
from torch import nn

from normscope import InputError
from normscope.nn import BatchNorm
from normscope.surgery import set_momentum
from tests.surgery.test_recalibrate import differing, whole_state


def network(*momenta: float | None) -> nn.Sequential:
    return nn.Sequential(*(nn.BatchNorm1d(2, momentum=momentum) for momentum in momenta))


def momenta(model: nn.Module) -> list[float | None]:
    return [norm.momentum for norm in model]


@pytest.mark.parametrize("momentum", [0.01, 1.0, None])
def test_one_for_all(momentum: float | None) -> None:
    model = network(0.1, None, 0.5)
    receipt = set_momentum(model, momentum)
    assert momenta(model) == [momentum] * 3
    assert len(receipt.changed) + len(receipt.left) == 3
    assert "recalibrate" in receipt.notes[0]


def test_keras_is_converted_and_torchs_stays() -> None:
    model = network(0.99, 0.1, None, 0.9, 0.5, 1.0)
    receipt = set_momentum(model, "keras")
    assert momenta(model) == [0.01, 0.1, None, 0.1, 0.5, 1.0]
    assert [change.module for change in receipt.changed] == ["0", "3"]
    assert [left.module for left in receipt.left] == ["1", "2", "4", "5"]
    assert receipt.before["largest momentum"] == 1.0
    again = set_momentum(model, "keras")
    assert not again.changed
    assert not again.notes


def test_a_converted_layer_follows_as_keras_does() -> None:
    """Keras: running = 0.9 * running + 0.1 * batch."""
    model, x = network(0.9), torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    set_momentum(model, "keras")
    model(x)
    torch.testing.assert_close(model[0].running_mean, torch.tensor([0.2, 0.4]))
    other = network(0.9)
    other(x)
    assert not torch.allclose(other[0].running_mean, model[0].running_mean), "the control"


def test_only_those_that_are_named_and_only_the_momentum() -> None:
    model = network(0.1, 0.1)
    before = whole_state(model)
    set_momentum(model, 0.2, modules="1")
    assert differing(before, whole_state(model)) == {"momentum 1"}


@pytest.mark.parametrize(
    ("model", "momentum", "says"),
    [
        (network(0.1), 0.0, "statistics that never move: normscope.freeze"),
        (network(0.1), 1.5, "above 0 and at most 1"),
        (network(0.1), float("nan"), "above 0 and at most 1"),
        (network(0.1), "torch", "momentum is 'torch'"),
        (network(0.1), True, "momentum is True"),
        (nn.Linear(2, 2), 0.1, "Linear has no layer with a momentum"),
        (nn.Sequential(nn.InstanceNorm2d(2)), 0.1, "has no layer with a momentum"),
        (nn.Sequential(*network(0.5), BatchNorm(2, warm_up=True)), None, "1: it warms up"),
    ],
)
def test_what_cannot_be_set_changes_nothing(model: nn.Module, momentum: object, says: str) -> None:
    before = whole_state(model)
    with pytest.raises(InputError, match=says):
        set_momentum(model, momentum)
    assert not differing(before, whole_state(model))


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("step", ["_set", "_new", "Change", "Receipt", "_figures"])
def test_whenever_it_raises_nothing_has_changed(
    step: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls, name = network(0.1, 0.2, 0.3), [], f"normscope.surgery._momentum.{step}"
    original = pkgutil.resolve_name(name)

    def broken(*args: object, **options: object) -> object:
        calls.append(step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(name, broken)
    try:
        set_momentum(model, 0.5)
    except KeyboardInterrupt:
        assert momenta(model) == [0.1, 0.2, 0.3]
    else:
        assert len(calls) < call
        assert momenta(model) == [0.5] * 3, "the control"


@pytest.mark.parametrize("first", [0.1, None])
@pytest.mark.parametrize("momentum", [0.01, None])
def test_a_receipt_has_each_figure_before_and_after(
    first: float | None, momentum: float | None
) -> None:
    receipt = set_momentum(network(first, 0.5), momentum)
    assert receipt.before.keys() == receipt.after.keys()
    assert "nan" not in str(receipt)
    averages = "layers that take the plain average"
    if first is None or momentum is None:
        assert receipt.before[averages] == [first, 0.5].count(None)
        assert receipt.after[averages] == [momentum, momentum].count(None)
    else:
        assert averages not in receipt.before
    if momentum is not None:
        assert receipt.before["largest momentum"] == 0.5
        assert receipt.after["largest momentum"] == 0.01
