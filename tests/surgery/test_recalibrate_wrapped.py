"""Recalibration of models that are wrapped, compiled, halved, or spread over ranks."""

import copy
import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from normscope._errors import NormscopeError, OwnModelError
from normscope.anatomy import unwrapped
from normscope.surgery import recalibrate
from tests.ranks import needs_gloo, on_two_ranks
from tests.surgery.test_recalibrate import (
    Two,
    assert_exact,
    differing,
    exact,
    held,
    rows,
    two,
    whole_state,
)  # fmt: skip


def compiled(model: nn.Module) -> nn.Module:
    wrapped = torch.compile(model, backend="eager")
    wrapped(rows(8))  # the code is there, and knows no hooks
    return wrapped


def compiled_inside(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    model(rows(8))
    return model


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, compiled, compiled_inside], ids=lambda wrap: wrap.__name__
)
@pytest.mark.parametrize("forward", [None, lambda m, x: m(x)], ids=["default", "own"])
def test_wrapped_and_compiled(wrap: Callable[[nn.Module], nn.Module], forward: object) -> None:
    model, x = two(), rows()
    wrapped = wrap(model)
    recalibrate(wrapped, x.split(50), forward=forward)
    assert_exact(model, x)
    with torch.no_grad():
        assert torch.allclose(wrapped(x), copy.deepcopy(model)(x)), "compiled code has the new ones"


def test_the_control_compiled_code_does_not_see_hooks() -> None:
    model, seen = compiled(two()), []
    unwrapped(model).norm.register_forward_pre_hook(lambda *_: seen.append(1))
    model(rows(8))
    with torch.compiler.set_stance("force_eager"):
        model(rows(8))
    assert seen, "eagerly it does"


def test_a_mapping_for_a_wrapped_model_is_chosen_by_what_is_inside() -> None:
    """A wrapper's forward would take the labels as well."""
    model, x = two(), rows()
    batches = [{"x": chunk, "label": torch.zeros(len(chunk))} for chunk in x.split(50)]
    recalibrate(nn.DataParallel(model), batches)
    assert_exact(model, x)


def test_sync_batch_norm_without_a_process_group() -> None:
    model, x = two(), rows()
    recalibrate(nn.SyncBatchNorm.convert_sync_batchnorm(model).train(), x.split(50))
    norms = [m for m in model.modules() if isinstance(m, nn.SyncBatchNorm)]
    found = {"norm": norms[0], "deep_norm": norms[1]}
    for name, expected in exact(model, x).items():
        ours = torch.stack([found[name].running_mean, found[name].running_var]).double()
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.005)])
def test_half_precision_is_as_exact_as_its_numbers(dtype: torch.dtype, tolerance: float) -> None:
    """The moments are float64's; what is left is the rounding of inputs and buffers."""
    model, x = two(), rows(2000)
    expected = exact(model, x)["norm"]
    recalibrate(model.to(dtype), x.to(dtype).split(500))
    assert model.norm.running_mean.dtype == dtype
    found = torch.stack([model.norm.running_mean, model.norm.running_var]).double()
    deviation = expected[1].sqrt()
    assert ((found[0] - expected[0]).abs() / deviation).max() < tolerance
    assert (found[1] / expected[1] - 1).abs().max() < tolerance


# --- over ranks ---


def recalibrated(rank: int) -> tuple[object, ...]:
    """Rank 0 has two batches and rank 1 has four, of other rows."""
    x = rows(120)
    model = two()
    wrapped = DistributedDataParallel(model.train())
    mine = x[:40].split(20) if rank == 0 else x[40:].split(20)
    recalibrate(wrapped, mine)
    statistics = {name: found.tolist() for name, found in held(model).items()}
    return statistics, wrapped.training, wrapped.require_forward_param_sync


@needs_gloo
def test_ddp_with_batches_of_unequal_number(tmp_path: Path) -> None:
    """Where its forward broadcast buffers, rank 1 would wait for ever, or lose what it took."""
    found = on_two_ranks(tmp_path, recalibrated)
    expected = exact(two(), rows(120))
    for statistics, training, syncs in found:
        assert training
        assert syncs
        for name, values in expected.items():
            torch.testing.assert_close(
                torch.tensor(statistics[name], dtype=torch.float64), values, rtol=1e-5, atol=1e-5
            )


def by_domain(rank: int) -> object:
    """A norm for each domain; the ranks begin with different ones, and one has the last alone."""
    model, x = ByDomain(), rows(50)
    names = "abc" if rank == 0 else "ba"
    batches = [{"x": 100 * "abc".index(name) + x, "domain": name} for name in names]
    receipt = recalibrate(model, batches)
    found = {name: float(norm.running_mean[0]) for name, norm in model.norms.items()}
    counts = {int(norm.num_batches_tracked) for norm in model.norms.values()}
    return found, counts, receipt.left, receipt.after["shift of a mean, in deviations"]


class ByDomain(nn.Module):
    """A norm for each domain."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.BatchNorm1d(3) for name in "abc"})

    def forward(self, x: torch.Tensor, domain: str) -> torch.Tensor:
        return self.norms[domain](x)


@needs_gloo
def test_ranks_whose_batches_call_different_layers(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, by_domain)
    assert first == second
    means, counts, left, shift = first
    mean = float(rows(50)[:, 0].mean())
    assert means == pytest.approx({"a": mean, "b": mean + 100, "c": mean + 200}, rel=1e-5)
    assert counts == {5}, "the batches of all ranks"
    assert not left
    assert shift < 1e-4


def failing(rank: int, where: str) -> object:
    """Rank 1 fails, at one place or another; what each rank says, and whether its model stayed."""
    model = two()
    before, calls = held(model), 0

    def forward(model: nn.Module, batch: torch.Tensor) -> object:
        nonlocal calls
        calls += 1
        if rank == 1 and where == f"call {calls}":
            msg = "too large"
            raise ValueError(msg)
        return model(batch)

    batches = [] if rank == 1 and where == "no batches" else rows(40).split(20)
    try:
        recalibrate(model, batches, forward=forward)
        said = "done"
    except NormscopeError as problem:
        said = f"{type(problem).__name__}: {problem}"
    stayed = all(torch.equal(before[name], found) for name, found in held(model).items())
    return said, stayed, calls


@needs_gloo
@pytest.mark.parametrize("where", ["no batches", "call 1", "call 3", "call 7", "call 9"])
def test_wherever_one_rank_fails_no_other_waits_and_none_is_changed(
    tmp_path: Path, where: str
) -> None:
    (first, kept, _), (second, also_kept, _) = on_two_ranks(tmp_path, failing, where)
    assert kept
    assert also_kept
    assert first.startswith("RankError: Rank 1 failed")
    assert ("no batches" if where == "no batches" else "ValueError: too large") in second


@needs_gloo
def test_the_control_where_none_fails(tmp_path: Path) -> None:
    (first, kept, calls), (second, _, _) = on_two_ranks(tmp_path, failing, "nowhere")
    assert (first, second, kept) == ("done", "done", False)
    assert calls > 9


# --- a guest ---


STEPS = [
    "_Statistics.of",
    "_Statistics.write",
    "_Statistics.told_from",
    "_figures",
    "Receipt",
    "gathered",
]


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel], ids=["plain", "wrapped"])
def test_whenever_it_raises_nothing_has_changed(
    wrap: Callable[[nn.Module], nn.Module],
    step: str,
    call: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, calls, name = wrap(two().train()), [], f"normscope.surgery._recalibrate.{step}"
    original = pkgutil.resolve_name(name)

    def broken(*args: object, **options: object) -> object:
        calls.append(step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    before = whole_state(model)
    monkeypatch.setattr(name, broken)
    try:
        recalibrate(model, rows(40).split(20))
    except KeyboardInterrupt:
        assert not differing(before, whole_state(model))
    else:
        assert len(calls) < call
        assert differing(before, whole_state(model)), "the control"


def test_a_wrapper_is_as_it_was_after_a_failure() -> None:
    model = nn.DataParallel(two())
    model.device_ids = [0, 1]

    def forward(inside: nn.DataParallel, batch: Tensor) -> None:
        assert inside.device_ids == [0]
        raise ZeroDivisionError

    with pytest.raises(OwnModelError, match="raised ZeroDivisionError"):
        recalibrate(model, [rows(8)], forward=forward)
    assert model.device_ids == [0, 1]


def test_two_is_what_is_tested() -> None:
    """The control of `assert_exact`: a model that was not recalibrated fails it."""
    model = two()
    assert isinstance(model, Two)
    with pytest.raises(AssertionError):
        assert_exact(model, rows())
