"""Two processes that are one process group."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

needs_gloo = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")


def _rank(
    rank: int, file: str, answers: multiprocessing.Queue, work: Callable[..., Any], *given: Any
) -> None:
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    answers.put((rank, work(rank, *given)))
    dist.barrier()
    dist.destroy_process_group()


def on_two_ranks(folder: Path, work: Callable[..., Any], *given: Any) -> list[Any]:
    """What each of two ranks answers.

    Args:
        folder: where they meet.
        work: a function of a module, called with the rank and what is given.
        given: more arguments.
    """
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    meeting = str(folder / "meeting")
    ranks = [
        context.Process(target=_rank, args=(rank, meeting, answers, work, *given))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    found = dict(answers.get(timeout=240) for _ in ranks)
    for process in ranks:
        process.join()
    return [found[0], found[1]]
