"""The two ways to make a step: the one that is written out, against autograd."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from normscope.data import Dataset
from normscope.nn import MLP
from normscope.records import Recipe
from normscope.training import _steps, build_network, train
from normscope.training._network import build_optimizer
from normscope.training._steps import AutogradStep, choose_step, make_step
from normscope.training._written_out import WrittenOutStep

RECIPES = {
    "the article's": Recipe(),
    "plain weights": Recipe(weights="plain", learning_rate=0.003),
    "no norm": Recipe(norm="none"),
    "no norm, plain weights": Recipe(norm="none", weights="plain", learning_rate=0.003),
    "PyTorch's conventions": Recipe(eps=1e-5, running_variance="bessel", decay=0.9),
    "cumulative": Recipe(average="cumulative"),
    "warmed up": Recipe(warm_up=True),
    "no hidden layer": Recipe(hidden=()),
    "one wide hidden layer": Recipe(hidden=(65,)),
}


def pair(recipe: Recipe, dtype: torch.dtype) -> tuple[AutogradStep, WrittenOutStep, MLP, MLP]:
    """The same fresh network twice, with a step of either kind."""
    hidden = recipe.hidden if len(recipe.hidden) < 5 else (20, 15, 15)
    recipe = recipe.model_copy(update={"hidden": hidden})
    one = build_network(recipe, inputs=30, classes=4).to(dtype).train()
    other = copy.deepcopy(one)
    optimizers = [build_optimizer(network, recipe) for network in (one, other)]
    for optimizer in optimizers:
        optimizer.param_groups[0]["lr"] = recipe.learning_rate
    assert WrittenOutStep.applies(other, optimizers[1])
    return (
        AutogradStep(one, optimizers[0]), WrittenOutStep([other], [optimizers[1]], 24), one, other
    )  # fmt: skip


def batches(count: int, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches that can be learned: four clouds of points."""
    centres = 2 * torch.randn(4, 30, dtype=dtype)
    labels = [torch.randint(0, 4, (24,)) for _ in range(count)]
    return [(centres[y] + torch.randn(24, 30, dtype=dtype), y) for y in labels]


@pytest.mark.parametrize("name", RECIPES)
def test_gradients_equal_autograds(name: str) -> None:
    by_autograd, written_out, one, other = pair(RECIPES[name], torch.float64)
    for images, labels in batches(3, torch.float64):
        by_autograd(images, labels)
        written_out(images, labels)
        for expected, parameter in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, expected.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_three_hundred_steps_leave_the_same_losses_and_state(name: str) -> None:
    by_autograd, written_out, one, other = pair(RECIPES[name], torch.float64)
    first = None
    for images, labels in batches(300, torch.float64):
        loss, right = by_autograd(images, labels)
        again, right_again = written_out(images, labels)
        torch.testing.assert_close(again, loss, rtol=1e-6, atol=1e-9)
        assert right == right_again
        first = loss if first is None else first
    assert loss < first / 3, "the control: something was learned"
    for path, expected in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[path], expected, rtol=1e-5, atol=1e-8)


def test_in_float32_the_losses_agree_to_rounding() -> None:
    recipe = Recipe(learning_rate=0.001)
    by_autograd, written_out, _, _ = pair(recipe, torch.float32)
    for images, labels in batches(200, torch.float32):
        loss, _ = by_autograd(images, labels)
        again, _ = written_out(images, labels)
        torch.testing.assert_close(again, loss, rtol=1e-3, atol=1e-5)


def test_adams_state_is_the_optimizers_own() -> None:
    """Steps of either kind can follow each other: a checkpoint does not tell them apart."""
    recipe = Recipe(hidden=(20, 15))
    networks = [build_network(recipe, inputs=30, classes=4).double() for _ in range(2)]
    optimizers = [build_optimizer(network, recipe) for network in networks]
    pure, mixed = AutogradStep(networks[0], optimizers[0]), AutogradStep(networks[1], optimizers[1])
    for index, (images, labels) in enumerate(batches(6, torch.float64)):
        pure(images, labels)
        if index == 3:
            mixed = WrittenOutStep([networks[1]], [optimizers[1]], 24)
        mixed(images, labels)
    for parameter, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(other, parameter, rtol=1e-6, atol=1e-9)
        for slot, value in optimizers[0].state[parameter].items():
            torch.testing.assert_close(
                optimizers[1].state[other][slot], value, rtol=1e-6, atol=1e-12
            )


def test_adams_settings_reach_the_kernel() -> None:
    networks = [build_network(Recipe(hidden=(20, 15)), inputs=30, classes=4).double() for _ in "12"]
    options = {"lr": 0.01, "betas": (0.6, 0.8), "eps": 0.1, "weight_decay": 0.3}
    optimizers = [torch.optim.Adam(network.parameters(), **options) for network in networks]
    by_autograd = AutogradStep(networks[0], optimizers[0])
    written_out = WrittenOutStep([networks[1]], [optimizers[1]], 24)
    for images, labels in batches(5, torch.float64):
        by_autograd(images, labels)
        written_out(images, labels)
    for parameter, other in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(other, parameter, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_networks_that_step_together_end_as_each_would_alone(name: str) -> None:
    recipe = RECIPES[name].model_copy(update={"hidden": RECIPES[name].hidden[:1]})
    seeds = [recipe.model_copy(update={"seed": seed}) for seed in range(3)]
    alone = [build_network(recipe, inputs=30, classes=4).double() for recipe in seeds]
    together = copy.deepcopy(alone)
    optimizers = [build_optimizer(network, recipe) for network in (*alone, *together)]
    each = [
        WrittenOutStep([network], [optimizer], 24)
        for network, optimizer in zip(alone, optimizers[:3], strict=True)
    ]
    all_of_them = WrittenOutStep(together, optimizers[3:], 24)
    data = [batches(40, torch.float64) for _ in seeds]
    for turn in zip(*data, strict=True):
        results = [step(*batch) for step, batch in zip(each, turn, strict=True)]
        images, labels = (torch.stack(of_each, 1) for of_each in zip(*turn, strict=True))
        losses, right = all_of_them(images, labels)
        assert right.tolist() == [int(count) for _, count in results]
        expected = torch.stack([loss for loss, _ in results])
        torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-9)
    assert len({float(loss) for loss in losses}) == 3, "the control: they are not the same network"
    for one, other in zip(alone, together, strict=True):
        assert one.state_dict().keys() == other.state_dict().keys()
        for path, expected in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[path], expected, rtol=1e-5, atol=1e-8)


def test_a_network_that_was_stepped_is_saved_and_copied_like_any_other(tmp_path: Path) -> None:
    network = build_network(Recipe(hidden=(20, 15)), inputs=30, classes=4)
    step = make_step(network, build_optimizer(network, Recipe()), 24)
    step(*batches(1, torch.float32)[0])
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    saved, copied = load_file(tmp_path / "network.safetensors"), copy.deepcopy(network)
    step(*batches(1, torch.float32)[0])
    for path, value in copied.state_dict().items():
        assert torch.equal(value, saved[path])
    assert copied.layers[0].norm.num_batches_tracked == 1
    assert network.layers[0].norm.num_batches_tracked == 2


def frozen(network: MLP) -> None:
    network.layers[0].linear.weight.requires_grad_(False)


def hooked(network: MLP) -> None:
    network.layers[1].register_forward_hook(lambda *_: None)


def hooked_before(network: MLP) -> None:
    network.layers[1].linear.register_forward_pre_hook(lambda *_: None)


def hooked_backward(network: MLP) -> None:
    network.layers[1].register_full_backward_hook(lambda *_: None)


def hooked_gradient(network: MLP) -> None:
    network.layers[0].linear.weight.register_hook(lambda gradient: 2 * gradient)


def hooked_accumulation(network: MLP) -> None:
    network.layers[0].norm.bias.register_post_accumulate_grad_hook(lambda _: None)


def other_norm(network: MLP) -> None:
    network.layers[1].norm = nn.LayerNorm(15)


def other_count(network: MLP) -> None:
    network.layers[1].norm.num_batches_tracked.add_(1)


def other_convention(network: MLP) -> None:
    network.layers[1].norm.warm_up = True


def torchs_norm(network: MLP) -> None:
    network.layers[1].norm = nn.BatchNorm1d(15)


HOOKS = [hooked, hooked_before, hooked_backward, hooked_gradient, hooked_accumulation]
CHANGES = [*HOOKS, frozen, other_norm, torchs_norm, other_count, other_convention]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_not_exactly_this_network_goes_by_autograd(change) -> None:
    recipe = Recipe(hidden=(20, 15))
    network = build_network(recipe, inputs=30, classes=4)
    optimizer = build_optimizer(network, recipe)
    assert isinstance(choose_step(network, optimizer, 24), WrittenOutStep)
    change(network)
    assert isinstance(choose_step(network, optimizer, 24), AutogradStep)


def test_other_optimizers_go_by_autograd() -> None:
    network = build_network(Recipe(hidden=(20,)), inputs=30, classes=4)
    for optimizer in (
        torch.optim.SGD(network.parameters()),
        torch.optim.AdamW(network.parameters()),
    ):
        assert not WrittenOutStep.applies(network, optimizer)
    for variant in ("amsgrad", "maximize", "decoupled_weight_decay", "differentiable"):
        adam = torch.optim.Adam(network.parameters(), **{variant: True})
        assert not WrittenOutStep.applies(network, adam)
    assert WrittenOutStep.applies(network, torch.optim.Adam(network.parameters())), "the control"


def test_an_optimizer_over_a_part_of_the_network_goes_by_autograd() -> None:
    network = build_network(Recipe(hidden=(20,)), inputs=30, classes=4)
    part = torch.optim.Adam(network.layers[0].parameters())
    assert not WrittenOutStep.applies(network, part)


@pytest.mark.parametrize(("norm", "kind"), [("batch", "w"), ("none", "w"), ("layer", "a")])
def test_training_chooses_by_itself(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch, norm: str, kind: str
) -> None:
    made = []
    real = _steps.WrittenOutStep.__call__
    monkeypatch.setattr(
        _steps.WrittenOutStep, "__call__", lambda self, x, y: made.append(1) or real(self, x, y)
    )
    train(Recipe(hidden=(8,), epochs=1, batch_size=20, norm=norm), tiny)
    assert len(made) == (6 if kind == "w" else 0)
