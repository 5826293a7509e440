"""Moments over ranks: two processes, and what happens when one of them fails."""

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from normscope._errors import NormscopeError
from normscope.stats import Moments, over_all_ranks

ROWS = torch.arange(10.0)[:, None].square()


def _rank(rank: int, file: str, failing: bool, answers: multiprocessing.Queue) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    mine = ROWS[:3] if rank == 0 else ROWS[3:]

    def compute() -> Moments:
        if failing and rank == 1:
            msg = "no such row"
            raise LookupError(msg)
        return Moments.of(mine, [0])

    try:
        moments = over_all_ranks(compute)
        answer = (moments.count, float(moments.mean), float(moments.population_variance))
    except (NormscopeError, LookupError) as problem:
        answer = f"{type(problem).__name__}: {problem}"
    answers.put((rank, answer))
    dist.destroy_process_group()


def on_two_ranks(folder: Path, *, failing: bool) -> list:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    ranks = [
        context.Process(target=_rank, args=(rank, str(folder / "meeting"), failing, answers))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    found = dict(answers.get(timeout=240) for _ in ranks)
    for process in ranks:
        process.join()
    return [found[0], found[1]]


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
def test_both_ranks_get_the_moments_of_all_rows(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, failing=False)
    assert first == second
    count, mean, variance = first
    assert count == 10
    assert mean == pytest.approx(float(ROWS.mean()))
    assert variance == pytest.approx(float(ROWS.var(correction=0)))
    assert mean != pytest.approx(float(ROWS[:3].mean() + ROWS[3:].mean()) / 2), "the control"


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")
def test_where_one_rank_fails_none_waits(tmp_path: Path) -> None:
    first, second = on_two_ranks(tmp_path, failing=True)
    assert second == "LookupError: no such row"
    assert first.startswith("NormscopeError: Rank 1 failed")
    assert first.endswith("LookupError: no such row")


def test_without_ranks_it_is_what_was_computed() -> None:
    moments = Moments.of(ROWS, [0])
    assert over_all_ranks(lambda: moments) is moments
