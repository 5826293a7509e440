"""Moments are right to rounding, for any axes, any offset and any way to cut the sample."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import config
from torch import Tensor

from normscope._errors import InputError, IntegerTensorError
from normscope.stats import Moments, merge, merge_all, moments
from tests.oracles.moments import exact_moments

EXAMPLE = torch.tensor(
    [
        [53, 9, 67, 30, 69],
        [79, 25, 7, 80, 16],
        [77, 67, 60, 30, 85],
        [45, 14, 92, 12, 67],
        [32, 98, 70, 98, 48],
        [45, 89, 73, 73, 80],
        [35, 67, 21, 77, 63],
        [24, 33, 56, 85, 17],
        [88, 43, 58, 82, 59],
        [53, 23, 34, 4, 33],
    ]
)


def exact(x: Tensor) -> tuple[float, float]:
    """Mean and population variance of all entries."""
    n, mean, m2 = exact_moments(x.double().flatten().tolist())
    return float(mean), float(m2 / n)


def textbook(x: Tensor) -> Tensor:
    """E[x²] − E[x]², the formula that the house forbids."""
    return x.square().mean(0) - x.mean(0).square()


def far_away(rows: int) -> Tensor:
    """Mean 1e4, deviation 1, float32."""
    return torch.randn(rows, 3) + 1e4


class TestMoments:
    def test_the_worked_example(self) -> None:
        mean, population_variance = moments(EXAMPLE.double(), [0])
        assert mean.tolist() == pytest.approx([53.1, 46.8, 53.8, 57.1, 53.7], abs=1e-12)
        assert population_variance.tolist() == pytest.approx(
            [421.09, 896.96, 598.36, 1056.69, 542.61], abs=1e-10
        )

    def test_the_worked_example_tells_the_population_variance_from_bessels(self) -> None:
        assert EXAMPLE.double().var(0)[0].item() == pytest.approx(421.09 * 10 / 9)

    @pytest.mark.parametrize("axes", [[0], [0, 1, 2], [1, 3], [-1], [3, 0], [0, 1, 2, 3]])
    def test_any_axes(self, axes: list[int]) -> None:
        x = torch.randn(3, 4, 5, 2, dtype=torch.float64)
        mean, population_variance = moments(x, axes)
        kept = sorted({0, 1, 2, 3} - {axis % 4 for axis in axes})
        rows = x.permute(*kept, *[axis % 4 for axis in axes])
        rows = rows.reshape(*[x.shape[axis] for axis in kept], -1)
        assert mean.shape == population_variance.shape == rows.shape[:-1]
        expected = [exact(row) for row in rows.reshape(-1, rows.shape[-1])]
        torch.testing.assert_close(mean.flatten(), torch.tensor([m for m, _ in expected]).double())
        torch.testing.assert_close(
            population_variance.flatten(), torch.tensor([v for _, v in expected]).double()
        )

    def test_keepdims_keeps_the_axes(self) -> None:
        mean, population_variance = moments(torch.randn(3, 4, 5), [0, -1], keepdims=True)
        assert mean.shape == population_variance.shape == (1, 4, 1)

    def test_a_large_offset_costs_no_digits(self) -> None:
        x = far_away(1000)
        mean, population_variance = moments(x, [0])
        for column in range(3):
            expected_mean, expected = exact(x[:, column])
            assert population_variance[column].item() == pytest.approx(expected, rel=1e-5)
            assert mean[column].item() == pytest.approx(expected_mean, rel=1e-6)

    def test_the_textbook_formula_fails_where_ours_passes(self) -> None:
        x = far_away(1000)
        assert ((textbook(x) - x.double().var(0, correction=0)).abs() > 0.5).all()

    @settings(deadline=None, max_examples=50)
    @given(
        rows=st.integers(1, 40),
        offset=st.sampled_from([0.0, -3.0, 1e4, 1e6]),
        scale=st.sampled_from([1e-3, 1.0, 50.0]),
        seed=st.integers(0, 10_000),
    )
    def test_agrees_with_exact_fractions(
        self, rows: int, offset: float, scale: float, seed: int
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(rows, generator=generator) * scale + offset
        mean, population_variance = moments(x, [0])
        expected_mean, expected = exact(x)
        assert mean.item() == pytest.approx(expected_mean, rel=1e-6, abs=1e-6 * scale)
        assert population_variance.item() == pytest.approx(expected, rel=1e-5, abs=1e-12)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_rounded_once(self, dtype: torch.dtype) -> None:
        x = (torch.randn(5000, 3) + 10).to(dtype)
        expected = moments(x.float(), [0])
        for ours, wide in zip(moments(x, [0]), expected, strict=True):
            assert ours.dtype == dtype
            assert torch.equal(ours, wide.to(dtype))

    def test_one_value_has_the_population_variance_zero(self) -> None:
        assert moments(torch.tensor([7.0]), [0])[1].item() == 0

    def test_a_value_that_is_not_finite_stays_in_its_column(self) -> None:
        x = torch.randn(4, 2)
        x[1, 0] = torch.nan
        mean, population_variance = moments(x, [0])
        assert mean.isnan().tolist() == population_variance.isnan().tolist() == [True, False]

    def test_differentiable(self) -> None:
        x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: moments(x, [0]), (x,))

    def test_under_vmap(self) -> None:
        x = torch.randn(4, 6, 3)
        torch.testing.assert_close(torch.vmap(lambda x: moments(x, [0]))(x), moments(x, [1]))

    def test_compiles_in_one_graph(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(config, "jaxtyping_disable", True)  # as users run it: no shape checks
        x = torch.randn(4, 6, 3)
        compiled = torch.compile(moments, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x, [0, -1]), moments(x, [0, -1]))


class TestMomentsRefuse:
    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
    def test_what_cannot_hold_a_mean(self, dtype: torch.dtype) -> None:
        with pytest.raises(IntegerTensorError, match=r"torch\.\w+ .*x\.float\(\), or x\.double"):
            moments(EXAMPLE.to(dtype), [0])
        with pytest.raises(IntegerTensorError):
            Moments.of(EXAMPLE.to(dtype), [0])

    def test_that_is_a_type_error_as_well(self) -> None:
        with pytest.raises(TypeError):
            moments(EXAMPLE, [0])

    @pytest.mark.parametrize(
        ("axes", "words"),
        [
            ([], "no axis"),
            ([2], "the last 1"),
            ([-3], "not all there"),
            ([0, 0], "twice"),
            ([1, -1], "twice"),
        ],
    )
    def test_axes_that_are_none_missing_or_repeated(self, axes: list[int], words: str) -> None:
        with pytest.raises(InputError, match=words):
            moments(torch.zeros(3, 4), axes)

    def test_to_average_nothing(self) -> None:
        with pytest.raises(InputError, match=r"\[0\] of shape \[0, 4\] hold no elements"):
            moments(torch.zeros(0, 4), [0])


floats = st.floats(-1e6, 1e6, width=32)
samples = st.lists(floats, min_size=1, max_size=20)


def of(values: list[float]) -> Moments:
    return Moments.of(torch.tensor(values, dtype=torch.float64), [0])


def assert_same(ours: Moments, count: int, mean: Fraction | float, m2: Fraction | float) -> None:
    """Equal to rounding; what is lost of m2 is small beside the numbers' own squares."""
    assert ours.count == count
    assert ours.mean.item() == pytest.approx(float(mean), rel=1e-12, abs=1e-9)
    assert ours.m2.item() == pytest.approx(float(m2), rel=1e-10, abs=1e-8)


class TestMerge:
    @settings(deadline=None, max_examples=60)
    @given(parts=st.lists(samples, min_size=1, max_size=6))
    def test_parts_of_any_sizes_are_the_whole(self, parts: list[list[float]]) -> None:
        whole = [value for part in parts for value in part]
        assert_same(merge_all(of(part) for part in parts), *exact_moments(whole))

    @settings(deadline=None, max_examples=60)
    @given(a=samples, b=samples)
    def test_commutative(self, a: list[float], b: list[float]) -> None:
        swapped = merge(of(b), of(a))
        assert_same(merge(of(a), of(b)), swapped.count, swapped.mean.item(), swapped.m2.item())

    @settings(deadline=None, max_examples=60)
    @given(a=samples, b=samples, c=samples)
    def test_associative(self, a: list[float], b: list[float], c: list[float]) -> None:
        left = merge(merge(of(a), of(b)), of(c))
        assert_same(merge(of(a), merge(of(b), of(c))), left.count, left.mean.item(), left.m2.item())

    def test_a_large_offset_costs_no_digits(self) -> None:
        x = far_away(5000)
        ours = merge_all(Moments.of(part, [0]) for part in x.split(7))
        expected = x.double().var(0, correction=0)
        assert ((ours.population_variance / expected - 1).abs() < 1e-4).all()

    def test_merging_sums_and_squares_would_lose_them(self) -> None:
        x = far_away(5000)
        squares = torch.stack([part.square().sum(0) for part in x.split(7)]).sum(0) / 5000
        mean = torch.stack([part.sum(0) for part in x.split(7)]).sum(0) / 5000
        assert ((squares - mean.square() - 1).abs() > 0.5).all()

    def test_averaging_the_parts_variances_would_miss_the_spread_of_their_means(self) -> None:
        parts = [torch.tensor([0.0, 0.0]), torch.tensor([10.0, 10.0])]
        ours = merge_all(Moments.of(part, [0]) for part in parts)
        assert ours.population_variance.item() == 25
        assert sum(part.var().item() for part in parts) == 0

    def test_an_empty_side_changes_nothing(self) -> None:
        some = Moments.of(torch.randn(4, 3), [0])
        empty = Moments.empty_like(some.mean)
        assert merge(some, empty) is some
        assert merge(empty, some) is some
        assert merge(empty, empty).count == 0

    def test_many_axes(self) -> None:
        x = torch.randn(6, 4, 4, 3, dtype=torch.float64)
        ours = merge(Moments.of(x[:2], [0, 1, 2]), Moments.of(x[2:], [0, 1, 2]))
        mean, population_variance = moments(x, [0, 1, 2])
        assert ours.count == 96
        torch.testing.assert_close(ours.mean, mean)
        torch.testing.assert_close(ours.population_variance, population_variance)

    def test_other_shapes_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"\[3\] and \[1\] cannot be merged"):
            merge(Moments.of(torch.randn(4, 3), [0]), Moments.of(torch.randn(4, 1), [0]))

    def test_nothing_to_merge_is_refused(self) -> None:
        with pytest.raises(InputError, match="no moments to merge"):
            merge_all([])


class TestVariances:
    def test_both_divisors(self) -> None:
        x = torch.randn(5, 3, dtype=torch.float64)
        ours = Moments.of(x, [0])
        torch.testing.assert_close(ours.population_variance, x.var(0, correction=0))
        torch.testing.assert_close(ours.bessel_variance, x.var(0, correction=1))

    def test_one_value_has_no_bessel_variance(self) -> None:
        one = Moments.of(torch.tensor([3.0]), [0])
        assert one.population_variance.item() == 0
        with pytest.raises(InputError, match="two values or more; there are 1"):
            _ = one.bessel_variance

    def test_no_values_have_none_at_all(self) -> None:
        with pytest.raises(InputError, match="no values"):
            _ = Moments.empty_like(torch.zeros(2)).population_variance

    def test_half_precision_is_held_in_float32(self) -> None:
        ours = Moments.of(torch.full((1000,), 60_000.0).half() * torch.tensor([0, 1] * 500), [0])
        assert ours.m2.dtype == torch.float32
        assert ours.m2.isfinite()


@given(rows=st.integers(2, 1024), columns=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_moments_of_columns_are_those_of_axis_0(rows: int, columns: int, seed: int) -> None:
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    moments = Moments.of_columns(x)
    assert moments.count == rows
    assert moments.mean.dtype == torch.float64
    torch.testing.assert_close(moments.mean, x.double().mean(0), rtol=1e-5, atol=1e-6)
    expected = x.double().var(0, correction=0)
    torch.testing.assert_close(moments.population_variance, expected, rtol=1e-4, atol=1e-7)


def test_moments_of_columns_far_from_zero_merge_into_those_of_all() -> None:
    x = (1e4 + torch.randn(60 * 1024, 3, dtype=torch.float64)).float()
    merged = merge_all(Moments.of_columns(chunk) for chunk in x.split(1024))
    x = x.double()
    torch.testing.assert_close(merged.mean, x.mean(0), rtol=2e-7, atol=0)
    torch.testing.assert_close(
        merged.population_variance, x.var(0, correction=0), rtol=1e-3, atol=0
    )
    at_once = Moments.of_columns(x.float()).population_variance
    assert (at_once / merged.population_variance - 1).abs().max() > 0.01, "the control: in one go"
