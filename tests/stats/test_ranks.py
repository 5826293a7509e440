"""Moments over ranks: two processes, and what happens when one of them fails."""

from pathlib import Path

import pytest
import torch

from normscope._errors import NormscopeError
from normscope.stats import Moments, over_all_ranks
from tests.ranks import needs_gloo, on_two_ranks

ROWS = torch.arange(10.0)[:, None].square()


def merged(rank: int, failing: bool) -> object:
    mine = ROWS[:3] if rank == 0 else ROWS[3:]

    def compute() -> Moments:
        if failing and rank == 1:
            msg = "no such row"
            raise LookupError(msg)
        return Moments.of(mine, [0])

    try:
        moments = over_all_ranks(compute)
    except (NormscopeError, LookupError) as problem:
        return f"{type(problem).__name__}: {problem}"
    return moments.count, float(moments.mean), float(moments.population_variance)


@needs_gloo
def test_both_ranks_get_the_moments_of_all_rows(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, merged, False)
    assert first == second
    count, mean, variance = first
    assert count == 10
    assert mean == pytest.approx(float(ROWS.mean()))
    assert variance == pytest.approx(float(ROWS.var(correction=0)))
    assert mean != pytest.approx(float(ROWS[:3].mean() + ROWS[3:].mean()) / 2), "the control"


@needs_gloo
def test_where_one_rank_fails_none_waits(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, merged, True)
    assert second == "LookupError: no such row"
    assert first.startswith("NormscopeError: Rank 1 failed")
    assert first.endswith("LookupError: no such row")


def test_without_ranks_it_is_what_was_computed() -> None:
    moments = Moments.of(ROWS, [0])
    assert over_all_ranks(lambda: moments) is moments
