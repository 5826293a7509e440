"""The model that is folded is a guest: as it was, after success and after a failure anywhere."""

import copy
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from normscope._errors import OwnModelError
from normscope.surgery import fold
from tests.surgery.models import article, rows, simple


class Noisy(nn.Module):
    """Draws, counts, keeps its last input, has hooks, a gradient, and a layer in another mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = simple()
        self.dropout = nn.Dropout(0.5).train()
        self.stranger = nn.BatchNorm1d(3).train()
        self.seen: list[object] = []
        self.last: object = None

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        self.last = x
        return self.stranger(self.dropout(self.body(x)))


def noisy() -> Noisy:
    model = Noisy()
    model.body[6].register_forward_hook(lambda module, given, output: None)
    model.body[0].weight.requires_grad_(False)
    model.body[6].weight.grad = torch.ones(3, 6)
    return model


def snapshot(model: nn.Module) -> dict[str, object]:
    """Everything that a person could notice, with the identity of every tensor."""
    return {
        "tensors": [
            (name, id(tensor), tensor._version, tensor.tolist())
            for name, tensor in model.state_dict(keep_vars=True).items()
        ],
        "requires": [(name, p.requires_grad) for name, p in model.named_parameters()],
        "gradients": [(p.grad is None or p.grad.tolist()) for p in model.parameters()],
        "modes": [(name, id(m), type(m), m.training) for name, m in model.named_modules()],
        "hooks": [list(m._forward_hooks.items()) for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "seen": (len(model.seen), model.last) if isinstance(model, Noisy) else None,
        "random": torch.get_rng_state().tolist(),
        "settings": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
    }  # fmt: skip


@pytest.mark.parametrize("build", [noisy, article, simple])
def test_nothing_is_changed_by_success(build: Callable[[], nn.Module]) -> None:
    model = build()
    x = rows(9, 36) if build is article else rows()
    before, given = snapshot(model), x.clone()
    folded, _ = fold(model, x)
    assert snapshot(model) == before
    assert torch.equal(x, given)
    own = {id(t) for t in model.state_dict(keep_vars=True).values()}
    assert not own & {id(t) for t in folded.state_dict(keep_vars=True).values()}
    memory = {t.data_ptr() for t in model.state_dict().values() if t.numel()}
    assert not memory & {t.data_ptr() for t in folded.state_dict().values() if t.numel()}


def test_the_control_the_snapshot_sees_a_forward() -> None:
    model = noisy()
    before = snapshot(model)
    model(rows())
    after = snapshot(model)
    assert {key for key in before if before[key] != after[key]} == {"tensors", "seen", "random"}


def test_dropout_that_is_on_draws_the_same_for_both() -> None:
    folded, receipt = fold(noisy(), rows())
    assert receipt.difference < 1e-5
    assert folded.dropout.training
    assert {left.module for left in receipt.left} == {"stranger"}
    assert folded.last is None, "nor did the copy keep what it saw"


STEPS = [
    "copy.deepcopy",
    "normscope.surgery._fold.outputs_of",
    "normscope.surgery._fold.find_sites",
    "normscope.anatomy._call_graph._LeafTracer.trace",
    "normscope.surgery._fold.folded",
    "normscope.surgery._fold.with_weights",
    "normscope.surgery._fold.LinearChain.of",
    "normscope.surgery._fold.relative_difference",
    "normscope.surgery._fold.Receipt",
]


@pytest.mark.parametrize("last", [False, True], ids=["first", "second"])
@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_changed_by_a_failure(
    step: str, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step fails in turn, at its first call or (where there is one) at its second."""
    model, calls = noisy(), []
    original = pkgutil.resolve_name(step)

    def broken(*args: object, **options: object) -> object:
        calls.append(step)
        if len(calls) > last:
            raise KeyboardInterrupt
        return original(*args, **options)

    before = snapshot(model)
    monkeypatch.setattr(step, broken)
    try:
        fold(model, rows())
    except (KeyboardInterrupt, Exception):
        assert calls
    else:
        assert last, "the fault was not reached"
    monkeypatch.undo()
    assert snapshot(model) == before


def test_nothing_is_changed_by_a_fold_that_is_refused() -> None:
    model = noisy()
    before = snapshot(model)
    with pytest.raises(Exception, match="tolerance"):
        fold(model, rows(), tolerance=0.0)
    assert snapshot(model) == before


@pytest.mark.parametrize("call", [1, 2])
def test_nothing_is_changed_by_a_forward_that_fails(call: int) -> None:
    class Tired(nn.Module):
        calls = 0

        def __init__(self) -> None:
            super().__init__()
            self.body = simple()

        def forward(self, x: Tensor) -> Tensor:
            if isinstance(x, Tensor):
                Tired.calls += 1
            if Tired.calls >= call:
                raise ZeroDivisionError
            return self.body(x)

    model = Tired()
    twin = copy.deepcopy(model)
    with pytest.raises(OwnModelError, match="on the example the model raised ZeroDivisionError"):
        fold(model, rows())
    for (name, ours), theirs in zip(
        model.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
