"""Plain mistakes are told in a sentence, before anything is looked at."""

from collections.abc import Callable

import pytest

from normscope import InputError, assert_healthy, check, watch
from tests.doctor.networks import small


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: check(small().state_dict()), "A state dict says nothing of the model"),
        (lambda: check("mine:build"), "The model is of type str"),
        (lambda: check(small(), 3), "The loader is of type int"),
        (lambda: check(small(), optimizer="adam"), "The optimizer is of type str"),
        (lambda: check(small(), suppress=["NS201"]), "suppress is of type list"),
        (lambda: check(small(), most_batches=0), "most_batches is 0"),
        (lambda: watch(3), "The model is of type int"),
        (lambda: watch(small(), suppress="NS201"), "suppress is of type str"),
        (lambda: assert_healthy(small(), at="bogus"), "there are error, warning, info"),
    ],
)
def test_a_mistake_is_one_sentence(call: Callable[[], object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        call()


def test_what_is_right_is_not_refused() -> None:
    """The control."""
    assert_healthy(small(), None, suppress={"NS201": "as published"}, at="error")
