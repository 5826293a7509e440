"""Recalibration: against float64 over all rows, where PyTorch's helper is wrong, and as a guest."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader, TensorDataset

from normscope import InputError
from normscope._errors import OwnModelError
from normscope.surgery import recalibrate


class Two(nn.Module):
    """Linear, batch norm, dropout, and the same again: the second depends on the first."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 5), nn.BatchNorm1d(5)
        self.dropout = nn.Dropout(dropout)
        self.second, self.deep_norm = nn.Linear(5, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.dropout(F.relu(self.norm(self.first(x))))
        return self.deep_norm(self.second(h))


def two(seed: int = 0, **options: float) -> Two:
    torch.manual_seed(seed)
    model = Two(**options)
    with torch.no_grad():
        for norm in (model.norm, model.deep_norm):
            norm.weight.normal_()
            norm.bias.normal_()
    return model.eval()


def rows(count: int = 203, offset: float = 2.0) -> Tensor:
    return offset + 3 * torch.randn(count, 3, generator=torch.Generator().manual_seed(count))


def exact(model: Two, x: Tensor) -> dict[str, Tensor]:
    """Mean and population variance of both layers' inputs over all rows, in float64."""
    net, found = copy.deepcopy(model).double().eval(), {}
    h = x.double()
    for name, linear, norm in (
        ("norm", net.first, net.norm),
        ("deep_norm", net.second, net.deep_norm),
    ):
        sums = linear(h)
        mean = sums.mean(dim=0)
        variance = (sums - mean).square().mean(dim=0)
        found[name] = torch.stack([mean, variance]).detach()
        h = F.relu(norm.weight * (sums - mean) / (variance + norm.eps).sqrt() + norm.bias)
    return found


def held(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: torch.stack([norm.running_mean, norm.running_var]).double()
        for name, norm in model.named_modules()
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) and norm.running_mean is not None
    }


def assert_exact(model: Two, x: Tensor, rtol: float = 1e-5) -> None:
    for name, expected in exact(model, x).items():
        torch.testing.assert_close(held(model)[name], expected, rtol=rtol, atol=1e-5)


def whole_state(model: nn.Module) -> dict[str, object]:
    """All that a guest must leave as it was."""
    return {
        **{f"state {k}": v.clone() for k, v in model.state_dict().items()},
        **{f"mode {k}": m.training for k, m in model.named_modules()},
        **{f"momentum {k}": getattr(m, "momentum", 0) for k, m in model.named_modules()},
        **{f"hooks {k}": len(m._forward_pre_hooks) for k, m in model.named_modules()},
        **{f"grad {k}": p.requires_grad for k, p in model.named_parameters()},
        "random": torch.get_rng_state(),
    }


def differing(before: dict[str, object], after: dict[str, object]) -> set[str]:
    def same(a: object, b: object) -> bool:
        return bool(torch.equal(a, b)) if isinstance(a, Tensor) else a == b

    return {key for key in before if not same(before[key], after[key])}


# --- the statistics ---


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_they_are_those_of_all_rows_however_they_are_cut(cuts: list[int]) -> None:
    model, x = two(), rows(sum(cuts) + 2)
    recalibrate(model, x.split([*cuts, 2]))
    assert_exact(model, x)


def test_ordered_rows_and_a_small_last_batch_where_update_bn_is_wrong() -> None:
    x = rows(202)
    x = x[x[:, 0].argsort()]
    x[200:] += 50
    batches = x.split(100)
    model, peer = two(dropout=0.0), two(dropout=0.0)
    recalibrate(model, batches)
    assert_exact(model, x)
    update_bn(batches, peer)
    expected = exact(model, x)["norm"]
    assert ((held(peer)["norm"] - expected).abs() > 0.2 * expected.abs()).any(), "the control"


def test_a_mean_of_ten_thousand_keeps_its_variance() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3)).eval(), rows(5000, offset=1e4)
    recalibrate(model, x.split(1000))
    expected = x.double().var(dim=0, correction=0)
    torch.testing.assert_close(held(model)["0"][1], expected, rtol=1e-4, atol=0)


def test_dropout_is_off_and_everything_but_the_statistics_is_as_it_was() -> None:
    model, x = two(dropout=0.9).train(), rows()
    before = whole_state(model)
    recalibrate(model, x.split(50))
    assert_exact(model, x)
    assert differing(before, whole_state(model)) == {
        f"state {layer}.{buffer}"
        for layer in ("norm", "deep_norm")
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert int(model.norm.num_batches_tracked) == 5


def test_poisoned_statistics_are_healed() -> None:
    model, x = two(), rows()
    model.norm.running_mean[1] = torch.nan
    model.deep_norm.running_var[0] = torch.inf
    recalibrate(model, x.split(50))
    assert_exact(model, x)


# --- what it is given ---


def asked(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(batch["pixels"])


class Keyword(Two):
    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return super().forward(x * scale)


@pytest.mark.parametrize(
    ("wrap", "forward"),
    [
        (lambda x: [x], None),
        (lambda x: (x, torch.zeros(len(x))), None),
        (lambda x: {"x": x, "label": torch.zeros(len(x))}, None),
        (lambda x: ({"x": x}, 1), None),
        (lambda x: {"pixels": x}, asked),
    ],
)
def test_batches_of_many_kinds(wrap: Callable[[Tensor], object], forward: object) -> None:
    torch.manual_seed(0)
    model, x = Keyword(dropout=0.0), rows()
    recalibrate(model, [wrap(chunk) for chunk in x.split(50)], forward=forward)
    assert_exact(model, x)


def test_a_generator_is_gone_through_more_than_once() -> None:
    model, x = two(), rows()
    recalibrate(model, (chunk for chunk in x.split(50)))
    assert_exact(model, x)


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        ([], "no batches"),
        (iter([]), "no batches"),
        (torch.zeros(4, 3), "pass an iterable of batches"),
        ([torch.zeros(4, 3).numpy()], "NumPy array"),
        ([{"y": torch.zeros(4, 3)}], "has y, and Two takes x; pass forward="),
        ([()], "A batch is empty"),
        ([torch.zeros(4, 3), torch.full((4, 3), torch.nan)], r"norm: in batch 2 .* not finite"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_and_changes_nothing(loader: object, says: str) -> None:
    model = two().train()
    before = whole_state(model)
    with pytest.raises(InputError, match=says):
        recalibrate(model, loader)
    assert not differing(before, whole_state(model))


# --- frozen, and what has no statistics ---


def test_frozen_layers_keep_theirs_and_the_others_see_them() -> None:
    model, x = two(), rows()
    model.norm.requires_grad_(False)
    model.norm.running_mean.fill_(1.5)
    receipt = recalibrate(model, x.split(50))
    assert held(model)["norm"][0].tolist() == [1.5] * 5
    assert [(left.module, left.reason[:12]) for left in receipt.left] == [("norm", "it is frozen")]
    with torch.no_grad():
        sums = model.second(F.relu(model.norm(model.first(x)))).double()
    torch.testing.assert_close(held(model)["deep_norm"][0], sums.mean(dim=0), rtol=1e-5, atol=1e-5)


def test_in_eval_inside_a_model_in_training_is_frozen() -> None:
    model, x = two().train(), rows()
    model.norm.eval()
    receipt = recalibrate(model, x.split(50))
    assert held(model)["norm"].tolist() == [[0.0] * 5, [1.0] * 5]
    assert [change.module for change in receipt.changed] == ["deep_norm"]


def test_layers_without_statistics_or_that_are_not_called_are_named() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3, track_running_stats=False))
    model.unused = nn.BatchNorm1d(2)
    receipt = recalibrate(model, rows().split(50), forward=lambda m, x: m[1](m[0](x)))
    assert {left.module: left.reason for left in receipt.left} == {
        "1": "it has no running statistics",
        "unused": "it was not called",
    }


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Linear(3, 2), "It has none"),
        (nn.BatchNorm1d(3).requires_grad_(False), "BatchNorm1d: it is frozen"),
        (nn.BatchNorm1d(3, track_running_stats=False), "it has no running statistics"),
    ],
)
def test_nothing_to_do_is_an_error(model: nn.Module, says: str) -> None:
    with pytest.raises(InputError, match=f"no batch norm to recalibrate. .*{says}"):
        recalibrate(model, [rows()])


def test_buffers_that_cannot_hold_the_statistics_are_refused() -> None:
    model, x = nn.Sequential(nn.BatchNorm1d(3)).half().eval(), 1000 * rows()
    with pytest.raises(InputError, match=r"0: its statistics are too large for torch.float16"):
        recalibrate(model, [x.half()])
    assert model[0].running_var.tolist() == [1.0] * 3
    recalibrate(model.float(), [x])
    assert model[0].running_var.min() > 65504, "the control"


# --- a guest ---


class _FailingError(Exception):
    pass


def test_whenever_it_raises_nothing_has_changed() -> None:
    """At every call of the model, first to last."""
    x, calls, limit = rows(40), 0, 0

    def forward(model: nn.Module, batch: Tensor) -> object:
        nonlocal calls
        calls += 1
        if calls == limit:
            raise _FailingError
        return model(batch)

    model = two().train()
    before = whole_state(model)
    recalibrate(copy.deepcopy(model), x.split(20), forward=forward)
    whole = calls
    assert whole > 4
    for limit in range(1, whole + 1):  # `forward` reads it
        calls = 0
        with pytest.raises(OwnModelError, match=r"Two: on batch \d the model raised _FailingError"):
            recalibrate(model, x.split(20), forward=forward)
        assert not differing(before, whole_state(model)), limit
    calls, limit = 0, 0
    recalibrate(model, x.split(20), forward=forward)
    assert differing(before, whole_state(model)), "the control"


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_of_torch_leaves_the_random_state_as_it_was(shuffle: bool) -> None:
    loader = DataLoader(TensorDataset(rows(40)), 20, shuffle=shuffle)
    model, before = two(), torch.get_rng_state()
    recalibrate(model, loader)
    assert torch.equal(torch.get_rng_state(), before)
    iter(loader)
    assert not torch.equal(torch.get_rng_state(), before), "the control"


# --- the receipt ---


def labelled(count: int, size: int, *, ordered: bool) -> tuple[nn.Module, list[tuple]]:
    """Three classes that a network with exact statistics tells apart."""
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % 3
    x = torch.randn(count, 3, generator=random) * 0.5
    x[torch.arange(count), labels] += 4
    x = 10 + 5 * x
    if ordered:
        order = labels.argsort(stable=True)
        x, labels = x[order], labels[order]
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3, bias=False)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.eye(3))
    model[0].running_mean.copy_(torch.tensor([0.0, 50.0, 0.0]))
    return model, list(zip(x.split(size), labels.split(size), strict=True))


def test_accuracy_and_shifts_before_and_after() -> None:
    model, batches = labelled(300, 50, ordered=False)
    receipt = recalibrate(model, batches)
    assert receipt.before["accuracy, percent"] < 70
    assert receipt.after["accuracy, percent"] > 95
    assert receipt.before["shift of a mean, in deviations"] > 1
    assert 0 < receipt.after["shift of a mean, in deviations"] < 1e-6, "measured, not taken as 0"
    assert receipt.after["factor of a deviation"] == pytest.approx(1, abs=1e-6)
    assert "off by up to" in receipt.changed[0].change
    assert not receipt.notes


class Loss(nn.Module):
    """Returns its loss and nothing else."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.model(x), labels)


class Named(nn.Module):
    """Answers by name."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.model(x)}


def test_answers_are_judged_by_what_batches_say_is_right() -> None:
    """Mappings, losses, maps of labels, numbers; not where two parts may be labels."""
    model, batches = labelled(300, 50, ordered=False)
    mappings = [{"x": x, "labels": labels} for x, labels in batches]
    right = recalibrate(copy.deepcopy(model), batches).after["accuracy, percent"]
    named = Named(copy.deepcopy(model)).eval()
    assert recalibrate(named, mappings).after["accuracy, percent"] == right
    receipt = recalibrate(Loss(copy.deepcopy(model)).eval(), mappings)
    assert receipt.before["loss"] > 2 * receipt.after["loss"] > 0
    maps = [(x[:, :, None, None], labels[:, None, None]) for x, labels in batches]
    seeing = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1, bias=False)).eval()
    seeing[0].load_state_dict(model[0].state_dict())
    nn.init.eye_(seeing[1].weight[:, :, 0, 0].detach())
    assert recalibrate(seeing, maps).after["accuracy, percent"] == right
    numbers = [(x, F.one_hot(labels, 3) * 2.0 - 0.5) for x, labels in batches]
    receipt = recalibrate(copy.deepcopy(model), numbers)
    name = "squared error, in variances of the targets"
    assert receipt.before[name] > receipt.after[name] > 0
    far = [(x, 1e-3 * F.one_hot(labels, 3)) for x, labels in batches]
    receipt = recalibrate(copy.deepcopy(model), far)
    assert receipt.after.keys() == {"shift of a mean, in deviations", "factor of a deviation"}
    lengths = [(x, labels % 2 + 1, labels) for x, labels in batches]
    receipt = recalibrate(copy.deepcopy(model), lengths)
    assert receipt.after.keys() == {"shift of a mean, in deviations", "factor of a deviation"}


def test_class_pure_batches_are_said_not_to_be_cured() -> None:
    model, batches = labelled(300, 50, ordered=True)
    receipt = recalibrate(model, batches)
    (note,) = receipt.notes
    assert "not alike" in note
    assert "cure the symptom only" in note


@pytest.mark.parametrize("width", [None, 5])
def test_so_are_batches_that_differ_in_their_deviations_only(width: int | None) -> None:
    """Rows, and maps; shuffled they are alike."""
    random = torch.Generator().manual_seed(1)
    sizes = torch.tensor([1.0, 4.0]).repeat_interleave(40).repeat(4)
    x = torch.randn(320, 3, *(() if width is None else (width,)), generator=random)
    x *= sizes.reshape(-1, *[1] * (x.ndim - 1))
    (note,) = recalibrate(nn.Sequential(nn.BatchNorm1d(3)), x.split(40)).notes
    assert "their deviations at 0 wander" in note
    assert "cure the symptom only" in note
    shuffled = x[torch.randperm(320, generator=random)]
    assert not recalibrate(nn.Sequential(nn.BatchNorm1d(3)), shuffled.split(40)).notes


def test_what_its_dtype_cannot_hold_is_measured_and_told() -> None:
    x = (1000 + torch.randn(200, 3)).bfloat16()
    model = nn.Sequential(nn.BatchNorm1d(3)).bfloat16()
    receipt = recalibrate(model, x.split(50))
    assert receipt.after["shift of a mean, in deviations"] > 0.01
    (note,) = receipt.notes
    assert "0: even so, its means are off by" in note
    assert "bfloat16 holds no better ones" in note


def test_maps_are_judged_by_rows_not_by_pixels() -> None:
    """Pixels of one image are alike; that does not make batches differ."""
    random = torch.Generator().manual_seed(0)
    images = torch.randn(200, 2, 1, 1, generator=random).expand(200, 2, 6, 6)
    receipt = recalibrate(nn.Sequential(nn.BatchNorm2d(2)), images.split(20))
    assert not receipt.notes


# --- mistakes of a caller ---


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: recalibrate(None, [rows(8)]), "the model is of type NoneType"),
        (lambda: recalibrate(two(), None), "the loader is of type NoneType"),
        (lambda: recalibrate(two(), 5), "the loader is of type int"),
        (lambda: recalibrate(two(), rows(8)), "The loader is an array"),
        (lambda: recalibrate(two(), {"x": rows(8)}), r"is one batch; .*\[batch\]"),
        (lambda: recalibrate(two(), (rows(8), torch.arange(8))), "of inputs and labels"),
        (lambda: recalibrate(two(), [["words"]]), "on batch 1 the model raised TypeError"),
        (lambda: recalibrate(two(), [{"a": rows(8)}]), "A batch has a, and Two takes x"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()


def test_a_pair_of_batches_is_a_loader() -> None:
    """The control of the refusal of one batch."""
    recalibrate(two(), (rows(8), rows(8)))
