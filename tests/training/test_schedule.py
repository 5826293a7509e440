"""The article's schedule (S8), against its own formula."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from normscope.records import Recipe
from normscope.training import learning_rate


def test_the_articles_formula() -> None:
    recipe = Recipe()
    for epoch in range(1, 16):
        assert learning_rate(recipe, epoch) == 0.02
    for done in range(15, 100):  # "after epoch e >= 15 it is 0.02 (100 - e) / (100 - 15)"
        assert learning_rate(recipe, done + 1) == pytest.approx(0.02 * (100 - done) / (100 - 15))


@given(epochs=st.integers(1, 200), constant=st.integers(1, 200))
def test_it_never_rises_never_reaches_zero_while_training_and_starts_in_full(
    epochs: int, constant: int
) -> None:
    recipe = Recipe(epochs=epochs, constant_epochs=constant)
    rates = [learning_rate(recipe, epoch) for epoch in range(1, epochs + 1)]
    assert rates[0] == recipe.learning_rate
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates))
    assert rates[-1] > 0


def test_a_run_of_at_most_the_constant_epochs_keeps_its_rate() -> None:
    assert learning_rate(Recipe(epochs=15), 15) == 0.02
    assert learning_rate(Recipe(epochs=16), 16) == 0.02
    assert learning_rate(Recipe(epochs=17), 17) == pytest.approx(0.01)
