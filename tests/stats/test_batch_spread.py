"""Are batches alike: against SciPy's analysis of variance, and against a known wander."""

import numpy as np
import pytest
import scipy.stats
import torch

from normscope import InputError
from normscope.stats import BatchSpread, Moments


def spread_of(batches: list[np.ndarray]) -> BatchSpread:
    return BatchSpread.of([Moments.of(torch.from_numpy(b)[:, None], [0]) for b in batches])


def drawn(random: np.random.Generator, wander: float, count: int = 60) -> list[np.ndarray]:
    return [
        random.normal(5 + 2 * wander * random.normal(), 2, size=random.integers(2, 40))
        for _ in range(count)
    ]


@pytest.mark.parametrize("wander", [0.0, 0.5, 3.0])
def test_f_is_scipys(wander: float) -> None:
    batches = drawn(np.random.default_rng(0), wander)
    found = spread_of(batches)
    assert float(found.f) == pytest.approx(scipy.stats.f_oneway(*batches).statistic)
    assert found.degrees == (len(batches) - 1, sum(map(len, batches)) - len(batches))


@pytest.mark.parametrize("wander", [0.2, 1.0, 4.0])
def test_the_wander_is_found_again(wander: float) -> None:
    random = np.random.default_rng(1)
    found = [float(spread_of(drawn(random, wander)).wander) for _ in range(30)]
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(wander, rel=0.1)


def test_batches_drawn_at_random_have_an_f_of_about_one() -> None:
    random = np.random.default_rng(2)
    found = [float(spread_of(drawn(random, 0.0)).f) for _ in range(60)]
    assert np.mean(found) == pytest.approx(1, abs=0.1)


def test_a_mean_of_ten_thousand_is_no_trouble_in_float32() -> None:
    batches = [b.astype(np.float32) + 10_000 for b in drawn(np.random.default_rng(3), 0.5)]
    exact = spread_of([b.astype(np.float64) for b in batches])
    assert float(spread_of(batches).f) == pytest.approx(float(exact.f), rel=1e-2)


@pytest.mark.parametrize("wander", [0.0, 0.1, 0.5])
def test_the_chance_is_scipys(wander: float) -> None:
    batches = drawn(np.random.default_rng(4), wander)
    found = spread_of(batches)
    assert found.chance == pytest.approx(scipy.stats.f_oneway(*batches).pvalue)
    assert found.is_wandering == (wander == 0.5)


def test_batches_of_two_drawn_at_random_do_not_wander() -> None:
    """Their means differ by 0.7 deviations; that is sampling, and F knows."""
    random = np.random.default_rng(5)
    for _ in range(200):
        assert not spread_of([random.normal(size=2) for _ in range(8)]).is_wandering


def test_channels_that_never_vary_do_not_wander() -> None:
    assert not spread_of([np.ones(4)] * 5).is_wandering


@pytest.mark.parametrize("sizes", [[5], [1, 1, 1]])
def test_too_few_are_refused(sizes: list[int]) -> None:
    with pytest.raises(InputError, match="have no spread"):
        spread_of([np.zeros(size) for size in sizes])
