"""Running statistics into an averaged model: by name, through wrappers, or not at all."""

import copy
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from normscope import InputError
from normscope.surgery import copy_buffers
from tests.surgery.test_recalibrate import differing, whole_state


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))


def trained() -> nn.Sequential:
    model = network()
    model.register_buffer("table", torch.arange(3.0))
    for seed in range(7):
        model(5 + torch.randn(16, 3, generator=torch.Generator().manual_seed(seed)))
    return model


def twin() -> nn.Sequential:
    model = network()
    model.register_buffer("table", torch.zeros(3))
    return model


WRAPPERS = [
    lambda m: m,
    AveragedModel,
    nn.DataParallel,
    lambda m: AveragedModel(nn.DataParallel(m)),
    lambda m: torch.compile(m, backend="eager"),
]


@pytest.mark.parametrize("around_target", WRAPPERS)
@pytest.mark.parametrize("around_source", WRAPPERS[::2])
def test_statistics_and_counters_by_name(
    around_source: Callable[[nn.Module], nn.Module], around_target: Callable[[nn.Module], nn.Module]
) -> None:
    source, target = around_source(trained()), around_target(twin())
    receipt = copy_buffers(source, target)
    found = [buffer for _, buffer in target.named_buffers() if buffer.shape == (4,)]
    expected = [buffer for _, buffer in source.named_buffers() if buffer.shape == (4,)]
    assert len(found) == 4
    assert all(map(torch.equal, found, expected))
    counters = {k: v for k, v in target.state_dict().items() if k.endswith("batches_tracked")}
    assert [(int(v), v.dtype) for v in counters.values()] == [(7, torch.int64)] * 2
    assert [change.module for change in receipt.changed] == ["1", "3"]
    assert receipt.before["shift of a mean, in deviations"] > 0.5
    assert receipt.after["shift of a mean, in deviations"] == 0
    if isinstance(target, AveragedModel):
        assert int(target.n_averaged) == 0
        assert "use_buffers=True" in receipt.notes[1]


def test_parameters_and_other_buffers_stay_unless_they_are_asked_for() -> None:
    source, target = trained(), twin()
    with torch.no_grad():
        source[0].weight.add_(1)
    before = whole_state(target)
    copy_buffers(source, target)
    assert {key.rpartition(".")[2] for key in differing(before, whole_state(target))} == {
        "running_mean", "running_var", "num_batches_tracked",
    }  # fmt: skip
    copy_buffers(source, target, everything=True)
    assert target.table.tolist() == [0.0, 1.0, 2.0]
    assert not torch.equal(source[0].weight, target[0].weight)


def test_an_average_answers_as_its_model_afterwards() -> None:
    """What it is for: EMA by parameters alone."""
    source = trained().eval()
    average = AveragedModel(twin())
    average.module.load_state_dict(
        {k: v for k, v in source.state_dict().items() if "running" not in k}, strict=False
    )
    x = 5 + torch.randn(9, 3)
    assert not torch.allclose(average.eval()(x), source(x)), "the control"
    copy_buffers(source, average)
    torch.testing.assert_close(average(x), source(x))


def test_into_another_dtype() -> None:
    target = twin().bfloat16()
    copy_buffers(trained(), target)
    assert target[1].running_mean.dtype == torch.bfloat16


def with_bad_statistics(value: float) -> nn.Module:
    model = trained()
    model[1].running_var[0] = value
    return model


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        (trained, lambda: network()[:2], "'3.running_mean' is missing in the target"),
        (lambda: network()[:2], twin, "'3.running_mean' is missing in the source"),
        (trained, lambda: nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)), "shape .4. in the"),
        (lambda: with_bad_statistics(torch.nan), twin, "'1.running_var' is not finite"),
        (lambda: with_bad_statistics(1e9), lambda: twin().half(), "too large for the target's"),
        (lambda: nn.Linear(2, 2), lambda: nn.Linear(2, 2), "nothing to copy"),
        (nn.LazyBatchNorm1d, nn.LazyBatchNorm1d, "holds no numbers yet"),
    ],
)
def test_what_does_not_fit_is_a_sentence_and_changes_nothing(
    source: Callable[[], nn.Module], target: Callable[[], nn.Module], says: str
) -> None:
    given, taken = source(), target()
    lazy = isinstance(taken, nn.LazyBatchNorm1d)
    before = {} if lazy else whole_state(taken)
    with pytest.raises(InputError, match=says):
        copy_buffers(given, taken)
    assert lazy or not differing(before, whole_state(taken))


def test_shared_memory_is_refused() -> None:
    model = trained()
    with pytest.raises(InputError, match="same memory in both"):
        copy_buffers(model, model)
    shallow = copy.copy(model)
    with pytest.raises(InputError, match="same memory in both"):
        copy_buffers(model, nn.DataParallel(shallow))


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize(
    "step", ["_refuse_what_does_not_fit", "_figures", "Change", "Receipt", "_buffers"]
)
def test_whenever_it_raises_nothing_has_changed(
    step: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target, calls = trained(), twin(), []
    name = f"normscope.surgery._copy_buffers.{step}"
    original = pkgutil.resolve_name(name)

    def broken(*args: object, **options: object) -> object:
        calls.append(step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    before = whole_state(target)
    monkeypatch.setattr(name, broken)
    try:
        copy_buffers(source, target)
    except KeyboardInterrupt:
        assert not differing(before, whole_state(target))
    else:
        assert len(calls) < call
        assert differing(before, whole_state(target)), "the control"
