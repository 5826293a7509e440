"""Moving averages weigh what their formulas say, and keep nothing alive that is not theirs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from normscope._errors import InputError, IntegerTensorError
from normscope.stats import (
    CumulativeAverage,
    ExponentialAverage,
    exponential_average,
    warmed_up_decay,
)
from tests.oracles.moments import average_by_weights, weights_of_the_values

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)
decays = st.floats(0, 0.9999)


def followed(average: ExponentialAverage | CumulativeAverage, values: list[float]) -> list[float]:
    """The shadow after every value."""
    shadows = []
    for value in values:
        average.update("value", value)
        shadows.append(float(average.average("value")))
    return shadows


class TestExponentialAverage:
    def test_the_worked_example(self) -> None:
        shadows = followed(ExponentialAverage(decay=0.9), [1.0, 2.0, 3.0, 4.0])
        assert shadows == pytest.approx([1.0, 1.1, 1.29, 1.561], abs=1e-15)

    def test_the_worked_example_tells_old_from_new(self) -> None:
        shadows = followed(ExponentialAverage(decay=0.1), [1.0, 2.0, 3.0, 4.0])
        assert shadows[1] == pytest.approx(1.9)

    @settings(deadline=None)
    @given(values=values, decay=decays)
    def test_weighs_every_value_as_the_formula_says(
        self, values: list[float], decay: float
    ) -> None:
        ours = followed(ExponentialAverage(decay), values)[-1]
        expected = average_by_weights(values, [decay] * (len(values) - 1))
        assert ours == pytest.approx(expected, rel=1e-9, abs=1e-6)

    @settings(deadline=None)
    @given(values=values, decay=decays)
    def test_warms_up_as_the_formula_says(self, values: list[float], decay: float) -> None:
        ours = followed(ExponentialAverage(decay, warm_up=True), values)[-1]
        warmed = [min(decay, (1 + n) / (10 + n)) for n in range(len(values) - 1)]
        assert ours == pytest.approx(average_by_weights(values, warmed), rel=1e-9, abs=1e-6)

    def test_warm_up_matters(self) -> None:
        cold, warm = ExponentialAverage(0.99), ExponentialAverage(0.99, warm_up=True)
        assert followed(cold, [0.0, 1.0])[-1] == pytest.approx(0.01)
        assert followed(warm, [0.0, 1.0])[-1] == pytest.approx(0.9)

    @settings(deadline=None)
    @given(value=st.floats(allow_nan=False, allow_infinity=False), decay=decays)
    def test_a_constant_is_a_fixed_point_to_the_last_bit(self, value: float, decay: float) -> None:
        assert exponential_average(value, value, decay) == value

    def test_the_usual_formula_is_not(self) -> None:
        assert any(0.9 * v + (1 - 0.9) * v != v for v in (0.1 * k for k in range(100)))

    @given(shadow=st.floats(-1e9, 1e9), value=st.floats(-1e9, 1e9))
    def test_no_memory_is_the_value(self, shadow: float, value: float) -> None:
        assert exponential_average(shadow, value, 0.0) == value

    def test_tensors_like_numbers(self) -> None:
        average = ExponentialAverage(0.75)
        batches = torch.randn(6, 3, dtype=torch.float64)
        for batch in batches:
            average.update("mean", batch)
        weights = torch.tensor(weights_of_the_values([0.75] * 5), dtype=torch.float64)
        torch.testing.assert_close(average.average("mean"), weights @ batches)

    def test_tensors_are_copied_and_detached(self) -> None:
        average = ExponentialAverage(0.5)
        value = torch.ones(2, requires_grad=True)
        average.update("weight", value)
        with torch.no_grad():
            value.zero_()
        shadow = average.average("weight")
        assert isinstance(shadow, torch.Tensor)
        assert shadow.tolist() == [1, 1]
        assert not shadow.requires_grad
        average.update("weight", value)
        assert shadow.tolist() == [1, 1], "a shadow once read does not move"

    def test_a_name_has_a_shadow_of_its_own(self) -> None:
        average = ExponentialAverage(0.5)
        average.update("a", 1.0)
        average.update("b", 5.0)
        average.update("a", 3.0)
        assert (average.average("a"), average.average("b")) == (2.0, 5.0)

    @pytest.mark.parametrize("poison", [math.nan, math.inf])
    def test_what_is_not_finite_stays(self, poison: float) -> None:
        shadows = followed(ExponentialAverage(0.5), [1.0, poison, 1.0, 1.0])
        assert [math.isfinite(shadow) for shadow in shadows] == [True, False, False, False]

    @pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, math.nan])
    def test_a_decay_outside_its_interval_is_refused(self, decay: float) -> None:
        with pytest.raises(InputError, match=f"decay is {decay}"):
            ExponentialAverage(decay)
        with pytest.raises(InputError, match=f"decay is {decay}"):
            exponential_average(1.0, 2.0, decay)

    def test_an_unknown_name_is_refused(self) -> None:
        average = ExponentialAverage(0.5)
        with pytest.raises(InputError, match=r"'loss'.*none yet"):
            average.average("loss")
        average.update("accuracy", 1.0)
        with pytest.raises(InputError, match=r"'loss'.*accuracy"):
            average.average("loss")

    def test_another_shape_is_refused_and_nothing_moves(self) -> None:
        average = ExponentialAverage(0.5)
        average.update("mean", torch.zeros(3))
        with pytest.raises(InputError, match=r"'mean' had shape \[3\] and has \[1\] now"):
            average.update("mean", torch.ones(1))
        with pytest.raises(InputError, match=r"has \[\] now"):
            average.update("mean", 1.0)
        torch.testing.assert_close(average.average("mean"), torch.zeros(3))

    def test_integers_are_refused(self) -> None:
        with pytest.raises(IntegerTensorError, match=r"'count' is a tensor of torch.int64.*float"):
            ExponentialAverage(0.5).update("count", torch.tensor([1, 2]))


class TestWarmedUpDecay:
    def test_grows_from_a_tenth_to_the_decay(self) -> None:
        decays = [warmed_up_decay(0.99, updates) for updates in range(2000)]
        assert decays[0] == 0.1
        assert decays == sorted(decays)
        assert decays[-1] == 0.99

    def test_tensors_like_numbers(self) -> None:
        updates = torch.arange(200, dtype=torch.float64)
        expected = [warmed_up_decay(0.9, int(n)) for n in updates]
        assert warmed_up_decay(0.9, updates).tolist() == pytest.approx(expected, abs=1e-15)


class TestCumulativeAverage:
    @settings(deadline=None)
    @given(values=values)
    def test_is_the_plain_mean(self, values: list[float]) -> None:
        ours = followed(CumulativeAverage(), values)
        for count, shadow in enumerate(ours, 1):
            assert shadow == pytest.approx(math.fsum(values[:count]) / count, rel=1e-9, abs=1e-6)

    def test_an_exponential_average_is_not(self) -> None:
        assert followed(ExponentialAverage(0.9), [1.0, 2.0, 6.0])[-1] != pytest.approx(3.0)

    def test_of_batches_of_tensors(self) -> None:
        average = CumulativeAverage()
        batches = torch.randn(50, 4)
        for batch in batches:
            average.update("batch", batch)
        torch.testing.assert_close(average.average("batch"), batches.double().mean(0).float())
