"""The layers with weights and the norms behind them, however a weight is made."""

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from normscope.anatomy import weight_layers
from normscope.probes._covariate_shift import CovariateShift
from normscope.probes._moment import Moment

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still in use
        return nn.utils.weight_norm(layer)


MADE: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "plain": (lambda layer: layer, "weight"),
    "weight norm": (parametrizations.weight_norm, "parametrizations.weight.original1"),
    "spectral norm": (parametrizations.spectral_norm, "parametrizations.weight.original"),
    "orthogonal": (parametrizations.orthogonal, "parametrizations.weight.original"),
    "old weight norm": (old_weight_norm, "weight_v"),
    "old spectral norm": (nn.utils.spectral_norm, "weight_orig"),
}


def network(kind: str) -> nn.Module:
    make = MADE[kind][0]
    return nn.Sequential(make(nn.Linear(4, 3)), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


@pytest.mark.parametrize("kind", MADE)
def test_a_weight_that_is_made_of_others_is_a_layer(kind: str) -> None:
    model = network(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, last = weight_layers(model, lambda m: m(X))
    assert (first.path, first.weight, first.norm) == ("0", f"0.{MADE[kind][1]}", "1")
    assert first.is_batch_norm
    assert (last.path, last.weight, last.norm) == ("3", "3.weight", None)
    assert first.weight in dict(model.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["plain", "weight norm", "spectral norm"])
def test_probes_read_of_it(kind: str) -> None:
    model = network(kind)
    now = {name: p.detach().clone() for name, p in model.named_parameters()}
    moment = Moment(1, model, lambda m: m(X).square().mean(), now, {}, {})
    assert {reading.layer for reading in CovariateShift().read(moment)} == {"0", "3"}
    assert [seen.sums.shape for seen in moment.sums_at(moment.after)] == [(12, 3), (12, 2)]


def test_what_no_module_gives_is_not_seen() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.recurrent = nn.MultiheadAttention(4, 2), nn.LSTM(4, 4)
            self.last, self.words = nn.Linear(4, 2), nn.Embedding(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.inner(x, x, x)[0] + self.words(torch.zeros(len(x), dtype=torch.long))
            return self.last(self.recurrent(x)[0])

    assert [layer.path for layer in weight_layers(Attending(), lambda m: m(X))] == ["last"]


def test_every_moment_looks_anew() -> None:
    model = network("plain")

    def norms() -> list[str | None]:
        moment = Moment(1, model, lambda m: m(X).square().mean(), {}, {}, {})
        return [layer.norm for layer in moment.layers]

    assert norms() == ["1", None]
    model[1] = nn.Identity()
    assert norms() == [None, None]


class Own(nn.Module):
    """A leaf of somebody's own."""

    def __init__(self, what: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.what(x)


@pytest.mark.parametrize(
    ("what", "moves"),
    [
        (lambda x: 2 * x + torch.arange(3.0), True),
        (lambda x: x, True),
        (lambda x: x.relu(), False),
        (lambda x: x + torch.linspace(0, 1, len(x))[:, None], False),  # not alike for all rows
        (lambda x: x.sum(1, keepdim=True), False),
        (lambda x: x[:, [1, 2, 0]], False),
    ],
)
@pytest.mark.parametrize("norm", [True, False])
def test_a_module_that_shifts_and_scales_units_is_told_from_others(
    what: Callable[[torch.Tensor], torch.Tensor], moves: bool, norm: bool
) -> None:
    between = [nn.BatchNorm1d(3)] if norm else []
    model = nn.Sequential(nn.Linear(4, 3), *between, Own(lambda x: x + 1), Own(what))
    (layer,) = weight_layers(model, lambda m: m(X))
    first = len(between) + 1
    assert layer.moved_by == str(first + moves)
    assert layer.norm == ("1" if norm else None)
    (layer,) = weight_layers(model[:first], lambda m: m(X))
    assert layer.moved_by is None
    stopped = nn.Sequential(*model[:first], nn.Tanh(), Own(lambda x: x + 1))
    (layer,) = weight_layers(stopped, lambda m: m(X))
    assert layer.moved_by is None


def test_a_channel_is_the_unit_of_a_convolution() -> None:
    kernel = nn.Conv2d(1, 2, 3)
    x = torch.randn(3, 1, 5, 6)
    by_channel = nn.Sequential(kernel, Own(lambda x: x * torch.tensor([1.0, -2.0])[:, None, None]))
    assert weight_layers(by_channel, lambda m: m(x))[0].moved_by == "1"
    by_place = nn.Sequential(kernel, Own(lambda x: x * torch.arange(1.0, 5)))
    assert weight_layers(by_place, lambda m: m(x))[0].moved_by is None
