"""What folding leaves alone because it would be wrong, and what it refuses altogether."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from normscope._errors import InputError, NormscopeError
from normscope.nn import MLP, ScaledLinear
from normscope.surgery import fold
from tests.surgery.models import article, rows, simple, trained_looking, why_left


class Two(nn.Module):
    """A pair that is used as `use` says, and a plain pair behind it that can always be folded."""

    def __init__(self, use: object) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(5, 5), nn.BatchNorm1d(5)
        self.plain = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
        self.use = use

    def forward(self, x: Tensor) -> Tensor:
        return self.plain(self.use(self, x))


def used_as(use: object) -> nn.Module:
    return trained_looking(Two(use))


def once(self: Two, x: Tensor) -> Tensor:
    return self.norm(self.linear(x))


def test_the_control_a_plain_use_is_folded() -> None:
    _, receipt = fold(used_as(once), rows())
    assert not receipt.left
    assert len(receipt.changed) == 4


def second_consumer(self: Two, x: Tensor) -> Tensor:
    s = self.linear(x)
    return self.norm(s) + s


def in_place(self: Two, x: Tensor) -> Tensor:
    s = self.linear(x)
    s.relu_()
    return self.norm(s)


def linear_twice(self: Two, x: Tensor) -> Tensor:
    return self.norm(self.linear(self.linear(x)))


def norm_twice(self: Two, x: Tensor) -> Tensor:
    return self.norm(self.linear(self.norm(x)))


def weight_read(self: Two, x: Tensor) -> Tensor:
    return self.norm(self.linear(x)) + self.linear.weight.sum()


def statistics_read(self: Two, x: Tensor) -> Tensor:
    return self.norm(self.linear(x)) + self.norm.running_mean


def no_linear(self: Two, x: Tensor) -> Tensor:
    return self.norm(torch.tanh(self.linear(x)))


def on_the_input(self: Two, x: Tensor) -> Tensor:
    return self.norm(x)


def never(self: Two, x: Tensor) -> Tensor:
    return self.linear(x)


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (second_consumer, "'linear', whose output is used elsewhere"),
        (in_place, "'linear', whose output is used elsewhere"),
        (linear_twice, "'linear', and it is called at 2 sites"),
        (norm_twice, "called at 2 sites"),
        (weight_read, "'linear', and its parameters or buffers are used by themselves"),
        (statistics_read, "its parameters or buffers are used by themselves"),
        (no_linear, "comes from tanh"),
        (on_the_input, "comes from the model's input"),
        (never, "not called"),
    ],
)
def test_uses_that_would_make_folding_wrong(use: object, reason: str) -> None:
    assert reason in why_left(used_as(use), rows(), "norm")


def test_training_mode() -> None:
    model = used_as(once)
    model.norm.train()
    assert "training mode" in why_left(model, rows(), "norm")
    with pytest.raises(InputError, match=r"nothing can be folded. 1: it is in training mode.*eval"):
        fold(simple().train(), rows())


def test_no_running_statistics() -> None:
    model = used_as(once)
    model.norm = nn.BatchNorm1d(5, track_running_stats=False).eval()
    assert "no running statistics" in why_left(model, rows(), "norm")


@pytest.mark.parametrize("buffer", ["running_mean", "running_var"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_statistics_that_are_not_finite(buffer: str, value: float) -> None:
    class Hidden(Two):
        def forward(self, x: Tensor) -> Tensor:
            self.norm(self.linear(x))  # whatever comes out of it is not looked at
            return self.plain(x)

    model = trained_looking(Hidden(once))
    getattr(model.norm, buffer)[1] = value
    assert "not finite: recalibrate" in why_left(model, rows(), "norm")


def test_weights_that_would_not_be_finite() -> None:
    model = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5, eps=0.0)).eval()
    model[1].running_var.fill_(1e-44)
    with torch.no_grad():
        model[0].weight.fill_(1e20)
    with pytest.raises(InputError, match=r"would not be finite in torch.float32"):
        fold(model, torch.zeros(2, 5))


@pytest.mark.parametrize("name", ["linear", "norm"])
@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_hooks(name: str, register: str) -> None:
    model = used_as(once)
    getattr(getattr(model, name), register)(lambda *_: None)
    assert "hooks" in why_left(model, rows(), "norm")


def test_hooks_around_a_pair_are_not_set_off_on_anything_but_tensors() -> None:
    class Wrapped(Two):
        def forward(self, x: Tensor) -> Tensor:
            return self.plain(self.pair(x))

    model = Wrapped(once)
    model.pair = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5))
    seen: list[type] = []
    model.pair.register_forward_hook(lambda module, given, output: seen.append(type(output)))
    assert "not called by itself" in why_left(trained_looking(model), rows(), "pair.1")
    assert set(seen) == {Tensor}


def test_a_module_that_a_hooked_one_calls_as_well() -> None:
    class Shared(Two):
        def forward(self, x: Tensor) -> Tensor:
            return self.plain(self.norm(self.linear(x)) + self.other(x))

    model = Shared(once)
    model.other = nn.Sequential(model.linear)
    model.other.register_forward_hook(lambda *_: None)
    assert "called at 2 sites" in why_left(trained_looking(model), rows(), "norm")


@pytest.mark.parametrize("change", [parametrizations.orthogonal, parametrizations.weight_norm])
def test_parametrizations(change: object) -> None:
    model = used_as(once)
    change(model.linear)
    assert "it is parametrized" in why_left(model, rows(), "norm")


def test_a_linear_map_of_three_axes_is_normalized_by_another_axis() -> None:
    model = nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(6), nn.Flatten(), nn.Linear(24, 3), nn.BatchNorm1d(3)
    )
    reason = why_left(trained_looking(model), torch.randn(9, 6, 5), "1")
    assert "output has 3 axes" in reason
    # As many positions as channels: the shapes would let it pass, and the numbers would be wrong.
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    with pytest.raises(InputError, match="3 axes"):
        fold(trained_looking(model), torch.randn(9, 4, 5))


def test_classes_that_may_compute_something_else() -> None:
    class OtherNorm(nn.BatchNorm1d):
        pass

    class OtherLinear(nn.Linear):
        pass

    model = used_as(once)
    model.norm = OtherNorm(5).eval()
    assert "OtherNorm is a class of its own" in why_left(model, rows(), "norm")
    model = used_as(once)
    model.linear = OtherLinear(5, 5)
    assert "comes from linear, into which it cannot" in why_left(model, rows(), "norm")


def test_a_scale_that_something_sees_stays() -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (ScaledLinear(5, 5, bias=False) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x)) + self.first.weight.sum()

    _, receipt = fold(Reader(), rows())
    assert [change.module for change in receipt.changed] == ["second"]
    assert [left.module for left in receipt.left] == ["first"]


def test_a_batch_norm_that_stays_is_not_outweighed_by_a_scale_that_goes() -> None:
    with pytest.raises(InputError, match="training mode"):
        fold(article().train(), rows(9, 36))


def test_nothing_to_fold() -> None:
    with pytest.raises(InputError, match="It has no batch norm"):
        fold(nn.Sequential(nn.Linear(5, 5)), rows())


def test_many_reasons_are_cut_short() -> None:
    model = MLP([36] + [4] * 9, norm=nn.BatchNorm1d)
    with pytest.raises(InputError, match="and 4 more"):
        fold(model, rows(9, 36))


def test_a_model_that_cannot_be_traced() -> None:
    class Branching(Two):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    with pytest.raises(InputError, match=r"Branching: torch.fx cannot follow"):
        fold(trained_looking(Branching(once)), rows())


def test_a_compiled_part_is_refused_with_what_to_do() -> None:
    model = used_as(once)
    model.plain = torch.compile(model.plain, backend="eager")
    with pytest.raises(InputError, match="'plain' is compiled by itself.*before torch.compile"):
        fold(model, rows())


def test_a_model_that_cannot_be_copied() -> None:
    model = used_as(once)
    model.generator = (number for number in range(3))
    with pytest.raises(InputError, match="cannot be copied"):
        fold(model, rows())


def test_outputs_that_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="not finite"):
        fold(simple(), rows() * float("nan"))
    with pytest.raises(InputError, match="no floating-point numbers"):
        fold(simple(), rows()[:0])


def test_a_difference_over_the_tolerance() -> None:
    with pytest.raises(NormscopeError, match=r"more than the tolerance of 0.0e\+00"):
        fold(simple(), rows(), tolerance=0)
    with pytest.raises(NormscopeError, match="more than the tolerance of nan"):
        fold(simple(), rows(), tolerance=float("nan"))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: {"x": x}])
def test_an_example_of_numpy_is_refused_with_what_to_do(wrap: Callable[[object], object]) -> None:
    model, images = used_as(once), np.zeros((4, 5), np.float32)
    with pytest.raises(InputError, match=r"NumPy array; pass torch.from_numpy\(images\)"):
        fold(model, wrap(images))
    assert fold(model, wrap(torch.from_numpy(images)))[1].changed


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fold(None, torch.zeros(2, 3)), "fold: the model is of type NoneType"),
        (lambda: fold(plain(), (torch.zeros(2, 3), torch.zeros(2))), "pass the inputs alone"),
        (lambda: fold(plain(), {"y": torch.zeros(2, 3)}), "for the model's named arguments"),
        (lambda: fold(plain(), "words"), "on the example the model raised TypeError"),
    ],
)
def test_an_example_that_the_model_does_not_take_is_told(
    call: Callable[[], object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        call()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
