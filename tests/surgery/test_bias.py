"""A bias before a batch norm: gone, with the same outputs in eval and in training; or refused."""

import pkgutil
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from normscope import InputError, NormscopeError
from normscope.nn import BatchNorm, ScaledLinear
from normscope.surgery import freeze, remove_bias_before_norm
from tests.surgery.models import rows, simple, trained_looking
from tests.surgery.test_fold_guest import snapshot


class Branches(nn.Module):
    """What `body` computes goes into a batch norm and, in some mode, elsewhere."""

    def __init__(self, *, only_in_training: bool) -> None:
        super().__init__()
        self.other, self.other_norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.body, self.norm = nn.Linear(5, 4), nn.BatchNorm1d(4)
        self.only_in_training = only_in_training

    def forward(self, x: Tensor) -> Tensor:
        h = self.body(x)
        y = self.norm(h) + self.other_norm(self.other(x))
        return y + h if self.training or not self.only_in_training else y


def pair(linear: nn.Module, norm: nn.Module) -> nn.Sequential:
    """Beside a pair of which the bias can go."""
    ours = nn.Sequential(linear, norm)
    return trained_looking(nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5), ours)).train()


def maps(convolution: nn.Module, norm: nn.Module) -> nn.Sequential:
    return trained_looking(nn.Sequential(convolution, norm, nn.ReLU()))


def grouped() -> nn.Module:
    return maps(nn.Conv2d(2, 4, 2, groups=2), nn.SyncBatchNorm(4))


SHAPES: list[tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = [
    (simple, rows),
    (lambda: maps(nn.Conv1d(2, 4, 2), nn.BatchNorm1d(4)), lambda: torch.randn(3, 2, 5)),
    (grouped, lambda: torch.randn(3, 2, 5, 5)),
    (lambda: maps(nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4)), lambda: torch.randn(3, 2, 3, 3, 3)),
    (lambda: maps(nn.ConvTranspose2d(2, 4, 2), BatchNorm(4)), lambda: torch.randn(3, 2, 5, 5)),
    (lambda: maps(ScaledLinear(5, 4, bias=True), BatchNorm(4)), rows),
]  # fmt: skip


@pytest.mark.parametrize(("build", "example"), SHAPES)
@pytest.mark.parametrize("training", [False, True])
def test_outputs_stay_and_the_bias_is_gone(
    build: Callable[[], nn.Module], example: Callable[[], Tensor], training: bool
) -> None:
    torch.manual_seed(0)
    model, x = build().double(), example().double()
    fresh, y = torch.randn_like(x), model.eval()(x)
    expected = model(fresh)
    model.train(training)
    had = sum(p.numel() for p in model.parameters())
    receipt = remove_bias_before_norm(model, x)
    assert model.training == training
    assert receipt.difference < 1e-12
    torch.testing.assert_close(model.eval()(x), y, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(model(fresh), expected, rtol=1e-10, atol=1e-10)
    assert sum(p.numel() for p in model.parameters()) < had
    for change in receipt.changed:
        assert model.get_submodule(change.module).bias is None
    assert "Build the optimizer anew" in receipt.notes[1]


def test_training_is_the_same_before_and_after() -> None:
    model, twin = (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)).double() for _ in range(2))
    twin.load_state_dict(model.state_dict())
    remove_bias_before_norm(model, rows().double())
    for seed in range(5):
        x = torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)).double()
        torch.testing.assert_close(model(x), twin(x))
    torch.testing.assert_close(model[1].running_mean + twin[0].bias, twin[1].running_mean)
    torch.testing.assert_close(model.eval()(x), twin.eval()(x))


def test_without_statistics_it_goes_as_well() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False))
    assert "in every mode" in remove_bias_before_norm(model, rows()).changed[0].change
    assert model[0].bias is None


def shared_bias() -> nn.Module:
    model = pair(nn.Linear(5, 4), nn.BatchNorm1d(4))
    model.add_module("twin", nn.Linear(4, 4))
    model.twin.bias = model[2][0].bias
    return model


def hooked(index: int) -> nn.Module:
    model = pair(nn.Linear(5, 4), nn.BatchNorm1d(4))
    model[2][index].register_forward_hook(lambda *_: None)
    return model


def parametrized() -> nn.Module:
    model = pair(nn.Linear(5, 4), nn.BatchNorm1d(4))
    parametrizations.weight_norm(model[2][0])
    return model


def frozen() -> nn.Module:
    model = pair(nn.Linear(5, 4), nn.BatchNorm1d(4))
    freeze(model, "2")
    return model


def in_eval() -> nn.Module:
    model = pair(nn.Linear(5, 4), nn.BatchNorm1d(4))
    model[2].eval()
    return model


def twice() -> nn.Module:
    model = pair(nn.Linear(5, 5), nn.BatchNorm1d(5))
    model.append(model[2][0])
    return model


def bias_hooked() -> nn.Module:
    model = pair(nn.Linear(5, 4), nn.BatchNorm1d(4))
    model[2][0].bias.register_hook(lambda grad: grad)
    return model


class OwnLinear(nn.Linear):
    """May compute anything."""


class OwnNorm(nn.BatchNorm1d):
    """May compute anything."""


REFUSED = [
    (shared_bias, "another module's as well"),
    (lambda: hooked(0), "forward hooks"),
    (lambda: hooked(1), "of the BatchNorm1d behind it: it has forward hooks"),
    (parametrized, "class of its own|parametrized"),
    (frozen, "frozen"),
    (in_eval, "frozen"),
    (twice, "called at 2 sites"),
    (bias_hooked, "its bias has hooks"),
    (lambda: pair(nn.Linear(5, 4), OwnNorm(4)), "OwnNorm behind it is a class of its own"),
]


@pytest.mark.parametrize(("build", "says"), REFUSED)
def test_where_it_would_be_wrong_it_stays_and_says_why(
    build: Callable[[], nn.Module], says: str
) -> None:
    model, x = build(), rows()
    y = model.eval()(x)
    model.train()
    if build is in_eval:
        model[2].eval()
    receipt = remove_bias_before_norm(model, x)
    assert [change.module for change in receipt.changed] == ["0"]
    assert model[2][0].bias is not None
    (left,) = receipt.left
    assert left.module == "2.0"
    assert re.search(says, left.reason), left.reason
    torch.testing.assert_close(model.eval()(x), y, rtol=1e-5, atol=1e-5)


def test_a_linear_map_of_ones_own_is_left_alone() -> None:
    model = pair(OwnLinear(5, 4), nn.BatchNorm1d(4))
    receipt = remove_bias_before_norm(model, rows())
    assert [change.module for change in receipt.changed] == ["0"]
    assert model[2][0].bias is not None


@pytest.mark.parametrize("only_in_training", [False, True])
def test_a_second_use_in_any_mode(only_in_training: bool) -> None:
    model = trained_looking(Branches(only_in_training=only_in_training))
    receipt = remove_bias_before_norm(model, rows())
    assert [change.module for change in receipt.changed] == ["other"]
    assert {left.module: left.reason for left in receipt.left} == {
        "body": "its output is used elsewhere as well"
    }


def test_another_channel_axis() -> None:
    """A `Linear` with output `[N, L, C]` before a `BatchNorm1d`, which normalizes by L."""
    model = trained_looking(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)))
    with pytest.raises(InputError, match="its output has 3 axes"):
        remove_bias_before_norm(model, torch.randn(2, 4, 5))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (
            nn.Sequential(nn.Linear(5, 4, bias=False), nn.BatchNorm1d(4)),
            "No linear map with a bias",
        ),
        (nn.Linear(5, 4), "No linear map with a bias"),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.BatchNorm1d(4)), "No linear map with a bias"),
    ],
)
def test_nothing_to_do_is_an_error(model: nn.Module, says: str) -> None:
    with pytest.raises(InputError, match=says):
        remove_bias_before_norm(model, rows())


def test_outputs_that_would_change_are_not_accepted() -> None:
    model = simple()
    with torch.no_grad():
        model[0].bias.fill_(1e9)  # larger than what it is added to can be told from
    model[1].running_mean.fill_(1e9)
    before = snapshot(model)
    with pytest.raises(NormscopeError, match="larger tolerance"):
        remove_bias_before_norm(model, rows())
    assert values(before) == values(snapshot(model))


def values(state: dict[str, object]) -> dict[str, object]:
    """Without the counts of writes."""
    return state | {"tensors": [(name, held) for name, _, _, held in state["tensors"]]}


STEPS = [
    "outputs_of", "CallGraph.of", "_objections", "relative_difference", "_Site.apply", "_figures",
    "Receipt", "_Site.told",
]  # fmt: skip


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_whenever_it_raises_nothing_has_changed(
    step: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls, name = simple().train(), [], f"normscope.surgery._bias.{step}"
    original = pkgutil.resolve_name(name)

    def broken(*args: object, **options: object) -> object:
        calls.append(step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    before = values(snapshot(model))
    monkeypatch.setattr(name, broken)
    try:
        remove_bias_before_norm(model, rows())
    except KeyboardInterrupt:
        assert values(snapshot(model)) == before
    else:
        assert len(calls) < call
        assert values(snapshot(model)) != before, "the control"
