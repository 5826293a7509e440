"""Norm layers out of weight decay: every class, each parameter once, state and options kept."""

import pkgutil

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import Optimizer

from normscope import InputError
from normscope.nn import BatchNorm
from normscope.surgery import exempt_norms, parameter_groups


class LlamaRMSNorm(nn.Module):
    """Somebody's own, by its name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight[:, :, 0] * x


class OwnStatistics(nn.Module):
    """Somebody's own, by its buffers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))


class NormedLinear(nn.Module):
    """Called a norm's relative, and none."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width, width))


class ProjectionNorm(NormedLinear):
    """Called a norm, with a matrix in it."""


class Activated(nn.BatchNorm1d):
    """With another module's parameter inside."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act = nn.PReLU()


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), nn.RMSNorm(4),
        BatchNorm(4), LlamaRMSNorm(4), nn.Linear(4, 4),
    )  # fmt: skip


def names(model: nn.Module, parameters: list[nn.Parameter]) -> set[str]:
    by_identity = {id(p): name for name, p in model.named_parameters()}
    return {by_identity[id(p)] for p in parameters}


@pytest.mark.parametrize(
    ("norm", "exempt"),
    [
        (nn.BatchNorm1d(4), 2),
        (nn.SyncBatchNorm(4), 2),
        (nn.InstanceNorm1d(4, affine=True), 2),
        (nn.InstanceNorm1d(4), 0),
        (nn.GroupNorm(2, 4), 2),
        (nn.LayerNorm((4, 5)), 2),
        (nn.RMSNorm(4), 1),
        (nn.LazyBatchNorm1d(), 2),
        (BatchNorm(4), 2),
        (LlamaRMSNorm(4), 1),
        (OwnStatistics(4), 1),
        (Activated(4), 2),
        (NormedLinear(4), 0),
        (ProjectionNorm(4), 0),
        (nn.Linear(4, 4), 0),
        (parametrizations.weight_norm(nn.Linear(4, 4)), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_which_parameters_are_norms(norm: nn.Module, exempt: int) -> None:
    net = nn.ModuleDict({"plain": nn.Linear(4, 4), "norm": norm})
    groups = parameter_groups(net, weight_decay=0.1)
    assert sum(len(g["params"]) for g in groups if not g["weight_decay"]) == exempt
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


def test_shared_and_frozen_ones_are_in_once() -> None:
    net = model()
    net[7].weight = net[0].weight
    net[2].weight = net[4].weight
    net[1].requires_grad_(False)
    held = [p for group in parameter_groups(net, weight_decay=0.1) for p in group["params"]]
    assert len(held) == len({id(p) for p in held}) == len(list(net.parameters()))
    torch.optim.AdamW(parameter_groups(net, weight_decay=0.1))


def test_biases_on_demand() -> None:
    net = model()
    decayed, exempt = parameter_groups(net, weight_decay=0.1, biases=True)
    assert names(net, decayed["params"]) == {"0.weight", "7.weight"}
    decayed, exempt = parameter_groups(net, weight_decay=0.1)
    assert {"0.bias", "7.bias"} < names(net, decayed["params"])
    assert "6.weight" in names(net, exempt["params"])


def test_what_cannot_be_grouped() -> None:
    with pytest.raises(InputError, match="must be 0 or more"):
        parameter_groups(model(), weight_decay=-0.1)
    with pytest.raises(InputError, match="ReLU has no parameters"):
        parameter_groups(nn.ReLU(), weight_decay=0.1)


# --- an optimizer that there is ---


def gradients(net: nn.Module, optimizer: Optimizer) -> None:
    optimizer.zero_grad()
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(3))
    net(x).square().sum().backward()


def stepped(**options: object) -> tuple[nn.Module, Optimizer]:
    net = model()
    optimizer = torch.optim.AdamW(net.named_parameters(), lr=0.01, betas=(0.8, 0.9), **options)
    gradients(net, optimizer)
    optimizer.step()
    return net, optimizer


def test_state_and_options_stay() -> None:
    net, optimizer = stepped(weight_decay=0.3)
    state = {id(p): {k: v.clone() for k, v in s.items()} for p, s in optimizer.state.items()}
    old = optimizer.param_groups[0]
    receipt = exempt_norms(optimizer, net)
    assert optimizer.param_groups[0] is old
    one, two = optimizer.param_groups
    assert {k: v for k, v in one.items() if "param" not in k} | {"weight_decay": 0} == {
        k: v for k, v in two.items() if "param" not in k
    } | {"weight_decay": 0}
    assert [one["weight_decay"], two["weight_decay"]] == [0.3, 0.0]
    assert set(one["param_names"]) == names(net, one["params"]) == {
        "0.weight", "0.bias", "7.weight", "7.bias",
    }  # fmt: skip
    assert set(two["param_names"]) == names(net, two["params"])
    assert {change.module for change in receipt.changed} == names(net, two["params"])
    for parameter, kept in optimizer.state.items():
        assert all(torch.equal(state[id(parameter)][k], v) for k, v in kept.items())
    assert receipt.before == {"groups": 1, "of these parameters, decayed": 10}
    assert receipt.after == {"groups": 2, "of these parameters, decayed": 0}


def test_the_next_step_is_without_decay() -> None:
    """AdamW multiplies by 1 - lr * decay first: the twin gets that back before, and only there."""
    net, optimizer = stepped(weight_decay=0.3)
    twin, other = stepped(weight_decay=0.3)
    exempt_norms(optimizer, net)
    exempt = names(net, optimizer.param_groups[1]["params"])
    gradients(net, optimizer)
    gradients(twin, other)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if name in exempt:
                parameter.div_(1 - 0.01 * 0.3)
    optimizer.step()
    other.step()
    for mine, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    plain, control = stepped(weight_decay=0.3)
    gradients(plain, control)
    control.step()
    assert not torch.allclose(plain[1].weight, net[1].weight), "the control"


def test_a_group_of_norms_alone_is_not_split_and_twice_is_once() -> None:
    net = model()
    groups = [{"params": list(net[1].parameters())}, {"params": list(net[0].parameters())}]
    optimizer = torch.optim.SGD(groups, lr=0.1, weight_decay=0.2)
    receipt = exempt_norms(optimizer, net)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.2]
    assert len(receipt.notes) == 1
    assert not exempt_norms(optimizer, net).changed
    assert not exempt_norms(optimizer, net).notes


def test_a_rate_that_is_a_tensor_is_each_groups_own() -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=torch.tensor(0.1), weight_decay=0.1)
    exempt_norms(optimizer, net)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates[0] is not rates[1]
    assert torch.equal(*rates)


def test_a_scheduler_made_before_is_refused_and_one_made_after_works() -> None:
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.raises(InputError, match="Take the norms out first"):
        exempt_norms(optimizer, net)
    assert len(optimizer.param_groups) == 1
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    exempt_norms(optimizer, net)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.01, 0.01])


def test_another_models_optimizer_is_refused() -> None:
    with pytest.raises(InputError, match="pass the model that it was made for"):
        exempt_norms(torch.optim.SGD(model().parameters(), lr=0.1), model())


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("name", ["_split", "_own", "_figures", "_notes", "Change", "Receipt"])
def test_whenever_it_raises_nothing_has_changed(
    name: str, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = model()
    halves = [{"params": list(net[:3].parameters())}, {"params": list(net[3:].parameters())}]
    optimizer = torch.optim.SGD(halves, lr=0.1, weight_decay=0.1)
    calls, path = [], f"normscope.surgery._decay.{name}"
    original = pkgutil.resolve_name(path)

    def broken(*args: object, **options: object) -> object:
        calls.append(name)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    def groups() -> list[object]:
        return [
            (id(group), list(group), [id(p) for p in group["params"]], group["weight_decay"])
            for group in optimizer.param_groups
        ]

    before = groups()
    monkeypatch.setattr(path, broken)
    try:
        exempt_norms(optimizer, net)
    except KeyboardInterrupt:
        assert groups() == before
    else:
        assert len(calls) < call
        assert groups() != before, "the control"
