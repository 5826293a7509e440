"""What ranks do together: two processes, and what happens when one of them fails."""

from pathlib import Path

import pytest

from normscope._errors import NormscopeError
from normscope.stats import gathered, together
from tests.ranks import needs_gloo, on_two_ranks


def sums(rank: int, failing: tuple[int, int] | None) -> object:
    """Three rounds; one rank may fail before one of them, and all go on together afterwards."""
    found = []
    try:
        with together():
            for number in range(3):
                _fail_if(failing == (rank, number))
                with together():  # a block inside is part of it
                    found.append(gathered(10 * number + rank))
    except (NormscopeError, LookupError) as problem:
        found.append(f"{type(problem).__name__}: {problem}")
    with together():
        found.append(gathered("after"))
    return found


def _fail_if(wanted: bool) -> None:
    if wanted:
        msg = "no such row"
        raise LookupError(msg)


@needs_gloo
def test_every_rank_gets_what_all_hold(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, sums, None)
    assert first == second == [[0, 1], [10, 11], [20, 21], ["after", "after"]]


@needs_gloo
@pytest.mark.parametrize("number", [0, 2])
def test_where_one_rank_fails_none_waits_and_the_next_call_is_sound(
    tmp_path: Path, number: int
) -> None:
    first, second = on_two_ranks(tmp_path, sums, (1, number))
    assert len(first) == len(second) == number + 2
    assert second[-2] == "LookupError: no such row"
    assert first[-2].startswith("RankError: Rank 1 failed")
    assert first[-2].endswith("LookupError: no such row")
    assert first[-1] == second[-1] == ["after", "after"]


def test_alone_it_is_what_was_given_and_what_was_raised() -> None:
    with together():
        assert gathered(1) == [1]
    with pytest.raises(LookupError), together():
        raise LookupError
