"""Folding computes the same: against float64 oracles, for every kind of pair, at any numbers."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import normscope as ns
from normscope.nn import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, ScaledLinear
from normscope.surgery import LinearChain, _folded_weights, fold
from tests.oracles.folding import in_eval_by_hand
from tests.surgery.models import article, reasons, rows, simple, trained_looking

ROUNDING = 2.0**-24


def assert_folded_is_the_same(model: nn.Module, x: Tensor) -> None:
    """In float64, where rounding cannot hide anything; with gradients and without."""
    folded, receipt = fold(model.double(), x.double(), tolerance=1e-12)
    assert receipt.after["batch norms"] == 0
    for some in (x.double(), x[:1].double()):
        expected = in_eval_by_hand(model, some.flatten(1))
        torch.testing.assert_close(folded(some), expected, rtol=1e-12, atol=1e-12)
        with torch.no_grad():
            torch.testing.assert_close(folded(some), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", [BatchNorm, BatchNorm1d, nn.BatchNorm1d, nn.SyncBatchNorm, None])
@pytest.mark.parametrize("scaled", [True, False])
def test_the_articles_network(norm: object, scaled: bool) -> None:
    model = article(norm, scaled_weights=scaled)
    if norm is None and not scaled:
        with pytest.raises(ns.NormscopeError, match="nothing can be folded"):
            fold(model, rows(9, 36))
    else:
        assert_folded_is_the_same(model, rows(9, 36).reshape(9, 6, 6))


@pytest.mark.parametrize(
    "options", [{}, {"affine": False}, {"eps": 0.5}, {"momentum": None}], ids=str
)
def test_a_sequential(options: dict[str, object]) -> None:
    assert_folded_is_the_same(simple(**options), rows())


def test_the_default_recipe_within_the_stated_tolerance_in_float32() -> None:
    network = trained_looking(article())
    folded, receipt = ns.fold(network, rows(64, 36))
    assert isinstance(folded, LinearChain)
    assert 0 < receipt.difference < receipt.tolerance == 1e-5
    x = rows(50, 36)
    expected = in_eval_by_hand(network, x)
    with torch.no_grad():
        assert (folded(x) - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("convolution", "norm", "dimensions"),
    [
        (nn.Conv1d, nn.BatchNorm1d, 1),
        (nn.Conv2d, nn.BatchNorm2d, 2),
        (nn.Conv3d, nn.BatchNorm3d, 3),
        (nn.Conv1d, BatchNorm1d, 1),
        (nn.Conv2d, BatchNorm2d, 2),
        (nn.Conv3d, BatchNorm3d, 3),
        (nn.ConvTranspose1d, nn.BatchNorm1d, 1),
        (nn.ConvTranspose2d, BatchNorm2d, 2),
        (nn.ConvTranspose3d, nn.BatchNorm3d, 3),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {}, {"bias": False}, {"groups": 2, "padding": 1},
        {"stride": 2, "padding_mode": "circular", "padding": 1},
    ],
    ids=str,
)  # fmt: skip
def test_convolutions(convolution: type, norm: type, dimensions: int, options: dict) -> None:
    if "Transpose" in convolution.__name__:
        options = {name: value for name, value in options.items() if name != "padding_mode"}
    model = trained_looking(nn.Sequential(convolution(4, 6, 3, **options), norm(6), nn.ReLU()))
    x = torch.randn(2, 4, *[6] * dimensions)
    folded, receipt = fold(model.double(), x.double(), tolerance=1e-13)
    assert [type(m) for m in folded] == [convolution, nn.Identity, nn.ReLU]
    assert receipt.difference < 1e-13


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    count=st.integers(1, 5),
    eps=st.sampled_from([0.0, 1e-10, 1e-5, 1e-3, 10.0]),
    exponent=st.floats(-12, 6),
    sign=st.sampled_from([-1.0, 0.0, 1.0]),
    scaled=st.booleans(),
    bias=st.booleans(),
)
def test_any_numbers(
    seed: int, inputs: int, outputs: int, count: int, eps: float, exponent: float, sign: float,
    scaled: bool, bias: bool,
) -> None:  # fmt: skip
    """Weights are the float64 ones, rounded once; outputs as near as a float32 product can be."""
    torch.manual_seed(seed)
    linear = (
        ScaledLinear(inputs, outputs, bias=bias) if scaled else nn.Linear(inputs, outputs, bias)
    )
    norm = nn.BatchNorm1d(outputs, eps=eps)
    model = trained_looking(nn.Sequential(linear, norm), seed)
    norm.running_var.mul_(10**exponent)
    with torch.no_grad():
        norm.weight.mul_(sign)
    x = torch.randn(count, inputs)
    folded, _ = fold(model, x, tolerance=math.inf)

    by_hand = in_eval_by_hand(model, torch.cat([torch.eye(inputs), torch.zeros(1, inputs)]))
    bias_by_hand = by_hand[-1]
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + eps)
    scale = 1 / math.sqrt(inputs) if scaled else 1.0
    weight_by_hand = gain[:, None] * scale * linear.weight.double()
    torch.testing.assert_close(
        folded[0].weight.double(), weight_by_hand, rtol=1.000001 * ROUNDING, atol=1e-37
    )
    magnitude = gain.abs() * norm.running_mean.double().abs() + norm.bias.double().abs()
    if bias:
        magnitude += gain.abs() * linear.bias.double().abs()
    assert (
        (folded[0].bias - bias_by_hand)
        .abs()
        .le(ROUNDING * bias_by_hand.abs() + 1e-14 * magnitude + 1e-37)
        .all()
    )

    with torch.no_grad():
        error = (folded(x) - in_eval_by_hand(model, x)).abs()
    sizes = x.double().abs() @ weight_by_hand.abs().T + magnitude
    assert (error <= (inputs + 4) * 2 * ROUNDING * sizes + 1e-30).all()


@pytest.mark.parametrize("wrong", ["eps", "mean", "bias", "scale"])
def test_a_fold_that_forgets_something_is_not_handed_out(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of everything above: the parity check and the oracle see each mistake."""
    right = _folded_weights.folded

    def forgetful(linear: nn.Module, norm: nn.BatchNorm1d) -> _folded_weights.Folded:
        if wrong == "eps":
            norm.eps = 0.0
        if wrong == "mean":
            norm.running_mean.zero_()
        if wrong == "bias" and linear.bias is not None:
            linear.bias.zero_()
        if wrong == "scale" and isinstance(linear, ScaledLinear):
            linear.scale = 1.0
        return right(linear, norm)

    monkeypatch.setattr("normscope.surgery._fold.folded", forgetful)
    model = simple(eps=0.1)
    with pytest.raises(ns.NormscopeError, match="differs from the model by"):
        fold(model, rows())
    folded, receipt = fold(model, rows(), tolerance=math.inf)
    assert receipt.difference > 1e-5
    with torch.no_grad():
        assert (folded(rows()) - in_eval_by_hand(model, rows())).abs().max() > 1e-4


class Residual(nn.Module):
    """Pairs inside a model whose forward is a person's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 8, bias=False)
        self.block = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))
        self.norm = nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor, offset: float = 0.0) -> dict[str, Tensor]:
        h = torch.relu(self.norm(input=self.first(x)))
        h = h + F.relu(self.block(h))
        return {"logits": self.last(h) + offset, "hidden": h}


def test_a_model_with_a_forward_of_its_own_keeps_its_class_and_its_names() -> None:
    model = trained_looking(Residual())
    for example in (rows(), (rows(), 1.0), {"x": rows(), "offset": 1.0}):
        folded, receipt = fold(model, example)
        assert type(folded) is Residual
        assert [(c.module, c.change) for c in receipt.changed] == [
            ("first", "took in 'norm'"),
            ("block.0", "took in 'block.1'"),
            ("block.1", "went into 'block.0'; torch.nn.Identity is in its place"),
            ("norm", "went into 'first'; torch.nn.Identity is in its place"),
        ]
        assert not receipt.left
    assert set(folded.state_dict()) == {
        f"{layer}.{kind}" for layer in ("first", "block.0", "last") for kind in ("weight", "bias")
    }
    torch.testing.assert_close(folded(rows())["logits"], model(rows())["logits"])
    assert folded(rows())["hidden"].requires_grad, "it can still learn"


def test_a_chain_has_no_identity_and_its_receipt_names_none() -> None:
    folded, receipt = fold(article(), rows(9, 36))
    assert type(folded).__name__ == "LinearChain"
    assert receipt.changed
    assert not any("Identity" in change.change for change in receipt.changed)
    assert "went into 'layers.0.linear'" in {change.change for change in receipt.changed}


def test_a_network_inside_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # fx's stand-ins are no tensors
    model = nn.Sequential(article(), nn.Softmax(dim=1)).eval()
    folded, receipt = fold(model, rows(9, 36))
    assert receipt.before["batch norms"], receipt.after["batch norms"] == (3, 0)
    assert isinstance(folded[0].layers[0].linear, nn.Linear)


def test_layer_norm_stays_and_the_scale_goes() -> None:
    model = article(nn.LayerNorm)
    folded, receipt = fold(model, rows(9, 36))
    assert [c.module for c in receipt.changed] == [f"layers.{i}.linear" for i in range(3)]
    assert set(reasons(receipt)) == {f"layers.{i}.norm" for i in range(3)}
    assert "every example" in reasons(receipt)["layers.0.norm"]
    assert [type(layer.linear) for layer in folded.layers] == [nn.Linear] * 3


def test_a_module_registered_twice_and_called_once_is_folded_in_both_places() -> None:
    model = Residual()
    model.alias = model.norm
    folded, _ = fold(trained_looking(model), rows())
    assert isinstance(folded.norm, nn.Identity)
    assert folded.alias is folded.norm


def test_half_precision_with_a_larger_tolerance() -> None:
    model = nn.Sequential(nn.Linear(5, 7).bfloat16(), nn.BatchNorm1d(7))
    with pytest.raises(ns.NormscopeError, match="half precision"):
        fold(trained_looking(model), rows().bfloat16())
    folded, receipt = fold(model, rows().bfloat16(), tolerance=0.05)
    assert folded[0].weight.dtype == torch.bfloat16
    assert 1e-5 < receipt.difference < 0.05


def test_weights_folded_in_inference_mode_can_learn() -> None:
    with torch.inference_mode():
        folded, _ = fold(simple(), rows())
    folded(rows()).sum().backward()
    assert all(parameter.grad is not None for parameter in folded.parameters())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        nn.DataParallel,
        lambda model: AveragedModel(model).eval(),
    ],
    ids=["compiled", "data parallel", "averaged"],
)
def test_of_a_wrapped_model_what_is_inside_is_folded(
    wrap: Callable[[nn.Module], nn.Module],
) -> None:
    model = simple()
    folded, receipt = fold(wrap(model), rows())
    expected, told = fold(model, rows())
    assert type(folded) is type(expected)
    assert receipt == told
    torch.testing.assert_close(folded(rows()), expected(rows()), rtol=0, atol=0)


def test_a_comparison_that_could_see_nothing_is_told() -> None:
    """All units are dead, of some rows or of all; and a single row may answer zero."""
    dead = trained_looking(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()))
    with torch.no_grad():
        dead[1].bias.fill_(-1e3)
    with_bias = nn.Sequential(*dead, nn.Linear(4, 2))
    cases = [(dead, rows()), (dead, rows()[:1]), (with_bias, rows()), (simple(), rows() * 0)]
    for model, x in cases:
        _, receipt = fold(model, x)
        assert "says little of the weights" in str(receipt)
    for x in (rows(), rows()[:1]):
        assert not fold(simple(), x)[1].notes, "the control: rows that answer differently"


def test_what_was_frozen_stays_frozen() -> None:
    folded, _ = fold(simple().requires_grad_(False), rows())
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_an_activation_that_writes_into_its_input_leaves_the_example_alone() -> None:
    model = trained_looking(nn.Sequential(nn.ReLU(inplace=True), *simple()))
    x = rows()
    fold(model, x)
    assert torch.equal(x, rows())


def test_the_receipts_difference_is_relative_to_the_largest_output() -> None:
    """Against a direct computation of what the page says."""
    model = simple()
    folded, receipt = fold(model, rows())
    with torch.no_grad():
        expected, found = model(rows()).double(), folded(rows()).double()
    largest = (found - expected).abs().max() / expected.abs().max()
    assert receipt.difference == pytest.approx(float(largest), rel=1e-6)


def test_the_page_says_what_can_be_folded() -> None:
    page = Path(ns.__file__).parents[2] / "docs" / "fold.md"
    if not page.exists():
        pytest.skip("the docs stand in the repository")
    text = page.read_text(encoding="utf-8")
    for kind in _folded_weights.OUTPUT_AXES:
        assert f"`{kind.__name__}`" in text
