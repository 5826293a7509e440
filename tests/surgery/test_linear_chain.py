"""The chain is a Sequential in everything, and its short ways compute what it computes."""

import copy
import itertools
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from normscope.surgery import LinearChain, _linear_chain, fold
from tests.surgery.models import article, rows

SIZES = [1, 2, 3, 33]


def chain(*widths: int, bias: bool = True) -> LinearChain:
    """Linear layers of these widths with ReLUs between."""
    modules: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs, bias=bias), nn.ReLU()]
    return LinearChain(*modules[:-1])


def ordinary(model: LinearChain) -> nn.Sequential:
    return nn.Sequential(*model)


def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which short ways were taken."""
    ways: list[str] = []
    for name in ("_one_row", "_many_rows"):
        original = getattr(_linear_chain, name)

        def note(*args: object, name: str = name, original: Callable = original) -> Tensor:
            ways.append(name)
            return original(*args)

        monkeypatch.setattr(_linear_chain, name, note)
    return ways


def assert_it_is_a_sequential(model: LinearChain, x: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model(x), ordinary(model)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", SIZES)
def test_the_short_ways_compute_the_same(
    count: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_linear_chain, "_GEMV_VALUES", 100)  # blocks of rows, a ragged last one
    ways = taken(monkeypatch)
    model = chain(36, 17, 9, 4, bias=bias)
    for x in (rows(count, 36), rows(count, 36).reshape(count, 6, 6), rows(36, count).T):
        assert_it_is_a_sequential(model, x)
    assert set(ways) == {"_one_row" if count == 1 else "_many_rows"}
    assert len(ways) == 3


def test_blocks_stay_below_what_openblas_deals_out_to_threads() -> None:
    linear = nn.Linear(784, 1000)
    blocks = _linear_chain._Layer.of(linear).blocks
    assert [block.size <= 460_800 for block in blocks] == [True, True]
    assert all(np.shares_memory(block, linear.weight.detach().numpy()) for block in blocks)


def test_the_private_kernel_is_there() -> None:
    """Where oneDNN is, its packed product must be found: if this fails, torch has changed it."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    assert _linear_chain._packed_linear() is not None


@pytest.mark.parametrize("fault", ["gone", "refuses", "wrong"])
def test_without_the_private_kernel_it_still_computes(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Tensor:
        if fault == "wrong":
            return torch.zeros(2, 1)
        raise AttributeError if fault == "gone" else RuntimeError

    monkeypatch.setattr(_linear_chain, "_pack", broken if fault != "wrong" else torch.zeros_like)
    _linear_chain._packed_linear.cache_clear()
    try:
        assert _linear_chain._packed_linear() is None
        assert_it_is_a_sequential(chain(36, 9, 4), rows(5, 36))
    finally:
        _linear_chain._packed_linear.cache_clear()


def add_noise(model: LinearChain) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))


def replace_data(model: LinearChain) -> None:
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter)


def replace_data_twice(model: LinearChain) -> None:
    replace_data(model)
    replace_data(model)  # the memory of the first must not come back under the second


def replace_parameters(model: LinearChain) -> None:
    model[1].weight = nn.Parameter(torch.randn(17, 36))
    model[3].bias = None


def replace_a_module(model: LinearChain) -> None:
    model[2] = nn.Tanh()


def shorten(model: LinearChain) -> None:
    del model[4:]


def append(model: LinearChain) -> None:
    model.append(nn.Linear(4, 2))


def hook(model: LinearChain) -> None:
    model[1].register_forward_hook(lambda module, given, output: output + 1)


def parametrize(model: LinearChain) -> None:
    parametrizations.orthogonal(model[3])


def load(model: LinearChain) -> None:
    model.load_state_dict(chain(36, 17, 9, 4).state_dict())


def load_assigned(model: LinearChain) -> None:
    model.load_state_dict(chain(36, 17, 9, 4).state_dict(), assign=True)


def step(model: LinearChain) -> None:
    model(rows(9, 36)).square().sum().backward()
    torch.optim.Adam(model.parameters(), lr=0.1, fused=True).step()


def write_through_data(model: LinearChain) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(-2)


def write_a_value_through_data_and_say_so(model: LinearChain) -> None:
    model[-1].weight.data[0] += 1
    model.eval()


@pytest.mark.parametrize(
    "change",
    [
        add_noise, replace_data, replace_data_twice, replace_parameters, replace_a_module, shorten,
        append, hook, parametrize, load, load_assigned, step, write_through_data,
        write_a_value_through_data_and_say_so,
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 5])
def test_whatever_is_done_to_it_is_seen_at_once(
    change: Callable[[LinearChain], None], count: int
) -> None:
    model, x = chain(36, 17, 9, 4), rows(count, 36)
    with torch.no_grad():
        before = model(x)
    change(model)
    assert_it_is_a_sequential(model, x)
    with torch.no_grad():
        after = model(x)
    assert after.shape != before.shape or not torch.allclose(after, before)


@pytest.mark.parametrize("count", [1, 5])
def test_every_kind_of_copy_is_independent(count: int, tmp_path: Path) -> None:
    model, x = chain(36, 9, 4), rows(count, 36)
    with torch.no_grad():
        before = model(x)
    torch.save(model, tmp_path / "model.pt")
    for twin in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(tmp_path / "model.pt", weights_only=False),
        model[:],
    ):
        assert type(twin) is LinearChain
        with torch.no_grad():
            assert torch.equal(twin(x), before)
    twin = copy.deepcopy(model)
    add_noise(twin)
    with torch.no_grad():
        assert torch.equal(model(x), before)
        assert not torch.equal(twin(x), before)


def test_gradients_take_the_ordinary_way(monkeypatch: pytest.MonkeyPatch) -> None:
    ways = taken(monkeypatch)
    model, x = chain(36, 9, 4), rows(5, 36).requires_grad_()
    model(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not ways
    with torch.no_grad():
        model(x[:1])
    assert ways == ["_one_row"], (
        "an input that asks for a gradient is no obstacle where there is none"
    )


@pytest.mark.parametrize(
    "x",
    [
        rows(5, 36).double(), rows(5, 36).bfloat16(), rows(0, 36), nn.Parameter(rows(1, 36)),
        torch._neg_view(rows(1, 36)), torch._neg_view(rows(5, 36)), rows(5, 1).expand(5, 36),
    ],
    ids=lambda x: f"{x.dtype}-{len(x)}-{x.stride()}-{x.is_neg()}",
)  # fmt: skip
def test_unusual_inputs(x: Tensor) -> None:
    assert_it_is_a_sequential(chain(36, 9, 4).to(x.dtype), x)


def test_wrong_widths_are_refused_in_torchs_own_words() -> None:
    for count in SIZES:
        with torch.no_grad(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            chain(36, 9)(rows(count, 35))


@pytest.mark.parametrize("count", [1, 5])
def test_what_is_not_finite_passes_through_without_a_word(count: int) -> None:
    model, x = chain(36, 9, 4), rows(count, 36)
    with torch.no_grad():
        model[1].bias[0] = float("inf")
        for value in (float("nan"), float("inf"), -float("inf"), 3e38):
            x[:, 0] = value
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = model(x)
            torch.testing.assert_close(found, ordinary(model)(x), equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.parametrize("count", [1, 5])
def test_transformations_of_torch_see_an_ordinary_module(count: int) -> None:
    model, x = chain(36, 9, 4), rows(count, 36)
    expected = ordinary(model)(x).detach()
    with torch.no_grad():
        model(x)
        for captured in (
            torch.jit.trace(model, x),
            torch.fx.symbolic_trace(model),
            torch.export.export(model, (x,)).module(),
            torch.compile(model, backend="eager", fullgraph=True),
            lambda x: torch.func.functional_call(model, dict(model.state_dict()), (x,)),
            lambda x: torch.vmap(model)(x[:, None])[:, 0],
        ):
            torch.testing.assert_close(captured(x), expected, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(
                captured(2 * x), ordinary(model)(2 * x), rtol=1e-5, atol=1e-6
            )
        with torch.autocast("cpu", torch.bfloat16):
            assert model(x).dtype == torch.bfloat16


def test_a_call_in_another_thread_is_no_trouble() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = chain(36, 200, 9, 4).eval()
    inputs = [rows(count, 36) for count in [1, 2, 5] * 50]
    expected = [ordinary(model)(x).detach() for x in inputs]

    def call(x: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(x)

    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(call, inputs), expected, strict=True):
            torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)


def test_only_what_is_surely_a_chain_becomes_one() -> None:
    linear = nn.Linear(5, 5)
    assert (
        LinearChain.of(nn.Sequential(linear, nn.Sequential(nn.ReLU(), nn.Identity()))) is not None
    )
    assert LinearChain.of(nn.Sequential(linear, nn.Dropout())) is None
    assert LinearChain.of(type("Mine", (nn.Sequential,), {})(linear)) is None
    hooked = nn.Sequential(linear)
    hooked.register_forward_hook(lambda *_: None)
    assert LinearChain.of(hooked) is None
    assert LinearChain.of(nn.Sequential(hooked)) is None


def test_it_trains_as_it_is_and_can_be_exported_to_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    folded, _ = fold(article(), rows(9, 36))
    folded.train()
    torch.onnx.export(folded.eval(), (rows(9, 36),), tmp_path / "folded.onnx", dynamo=True)
    assert (tmp_path / "folded.onnx").stat().st_size > 1000


def test_a_write_to_a_single_value_is_seen() -> None:
    """One that is none of the samples: torch's own count of writes tells of it."""
    chain, x = LinearChain(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 2)), torch.randn(5, 20)
    with torch.no_grad():
        chain(x)
        chain[0].weight[0, 1] += 100
        expected = nn.Sequential(*chain)(x)
        torch.testing.assert_close(chain(x), expected, rtol=1e-5, atol=1e-4)
