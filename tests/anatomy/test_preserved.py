"""`preserved` and `batch_statistics`: the guest leaves as it came, also when the block raises."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from normscope.anatomy import batch_norm_layers, batch_statistics, preserved


def model_with_everything() -> nn.Sequential:
    model = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.BatchNorm1d(3, momentum=None)
    )
    model[3].eval()
    model[0].bias.requires_grad_(False)
    model(torch.randn(6, 4)).square().sum().backward()
    return model


def fingerprint(model: nn.Module) -> dict[str, object]:
    """Everything that a guest may not change, by value and by identity."""
    state: dict[str, object] = {"random": torch.get_rng_state().tolist()}
    for path, module in model.named_modules():
        state[f"{path}.training"] = module.training
        state[f"{path}.hooks"] = list(module._forward_hooks), list(module._forward_pre_hooks)
        for name in ("momentum", "track_running_stats", "eps"):
            state[f"{path}.{name}"] = getattr(module, name, None)
    for name, buffer in model.named_buffers():
        state[name] = id(buffer), buffer.tolist()
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        state[name] = id(parameter), parameter.requires_grad, id(gradient)
        state[f"{name}.grad"] = None if gradient is None else gradient.tolist()
    return state


def damage_modes(model: nn.Sequential) -> None:
    model.eval()
    model[3].train()


def damage_buffers_in_place(model: nn.Sequential) -> None:
    model.train()(torch.randn(5, 4))


def damage_buffer_objects(model: nn.Sequential) -> None:
    model[1].running_mean = torch.full((3,), 7.0)
    model[1].register_buffer("stranger", torch.zeros(1))


def damage_settings(model: nn.Sequential) -> None:
    model[1].momentum = 1.0
    model[1].track_running_stats = False
    model[3].eps = 1.0


def damage_gradients(model: nn.Sequential) -> None:
    model(torch.randn(5, 4)).sum().backward()
    model[0].bias.requires_grad_(True)
    model[1].weight.grad = None


def damage_hooks(model: nn.Sequential) -> None:
    model[1].register_forward_hook(lambda *_: None)
    model[0].register_forward_pre_hook(lambda *_: None)


def damage_random_state(model: nn.Sequential) -> None:
    torch.manual_seed(99)


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_undone(damage: Callable[[nn.Module], None], raises: bool) -> None:
    model = model_with_everything()
    before = fingerprint(model)
    try:
        with preserved(model):
            damage(model)
            assert fingerprint(model) != before, "the control: this block does damage"
            if raises:
                raise RuntimeError  # noqa: TRY301
    except RuntimeError:
        assert raises
    assert fingerprint(model) == before


def test_a_hook_of_the_users_can_still_be_removed() -> None:
    model = model_with_everything()
    handle = model[1].register_forward_hook(lambda *_: None)
    with preserved(model):
        damage_hooks(model)
    handle.remove()
    assert not model[1]._forward_hooks


def test_batch_statistics_normalize_by_the_batch_and_track_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.BatchNorm1d(3, affine=False)).eval()
    buffers = copy.deepcopy(list(model.buffers()))
    x = torch.randn(50, 4)
    with batch_statistics(model), torch.no_grad():
        y = model(x)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    assert all(map(torch.equal, buffers, model.buffers()))
    with torch.no_grad():
        assert model(x).mean(dim=0).abs().max() > 0.01, "the control: eval mode is another thing"


def test_batch_norm_layers_are_found_once_by_path() -> None:
    shared = nn.BatchNorm1d(3)
    model = nn.ModuleDict({"a": nn.Sequential(shared, nn.LayerNorm(3)), "b": shared})
    assert list(batch_norm_layers(model)) == ["a.0"]
