"""Whoever multiplies, with whatever preparation, the product is the same."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from normscope.nn import _products, fast_linear
from normscope.nn._products import repeated_linear


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """What was found in one test is looked for anew in the next."""
    caches = _products._onednns_linear, _products._onednns_packing
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def assert_products(dtype: torch.dtype) -> None:
    weight = torch.randn(11, 40, dtype=dtype)
    linear = repeated_linear(weight)
    for rows in (1, 7, 300):
        x = torch.randn(rows, 40, dtype=dtype)
        expected = (x.double() @ weight.double().T).to(dtype)
        torch.testing.assert_close(linear(x), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fast_linear(x, weight), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_is_a_product(dtype: torch.dtype) -> None:
    assert_products(dtype)


def test_the_private_kernels_are_there() -> None:
    """Where oneDNN is, both must be found: if this fails, torch has changed them."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    assert _products._onednns_linear() is not None
    assert _products._onednns_packing() is not None


def missing(*_: object) -> Tensor:
    raise AttributeError


def refusing(*_: object) -> Tensor:
    raise RuntimeError


def wrong(weight: Tensor, *_: object) -> Tensor:
    return torch.zeros(2, len(weight))


@pytest.mark.parametrize("fault", [missing, refusing, wrong])
def test_without_oneDNNs_product_it_is_torchs(  # noqa: N802 - its name
    fault: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        default = staticmethod(fault)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", Broken)
    assert _products._onednns_linear() is None
    assert _products._onednns_packing() is None
    assert_products(torch.float32)


@pytest.mark.parametrize("fault", [missing, refusing, lambda weight, rows: torch.zeros(1, 2)])
def test_without_its_packing_it_does_without(
    fault: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", fault)
    assert _products._onednns_packing() is None
    assert_products(torch.float32)
