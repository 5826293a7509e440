"""Two processes that collect statistics of their own."""

from pathlib import Path

import torch

from normscope.doctor import watch
from normscope.doctor._rank_distances import rank_distances
from normscope.surgery import recalibrate
from tests.doctor.networks import batch_norms, rows, small
from tests.ranks import needs_gloo, on_two_ranks


def watched_alone(rank: int) -> tuple[object, ...]:
    model = small()
    with watch(model) as loop:
        for seed in range(10):
            model(rows(seed=seed) + 3 * rank)  # a domain of its own for each
    apart = loop.diagnosis().of("NS504")
    far = rank_distances({"1": model[1]})
    recalibrate(model, [rows() + 3 * rank])
    mended = loop.diagnosis()
    unlike = rank_distances(dict.fromkeys("ab"[: rank + 1], batch_norms(model)[0]))
    found = [(f.severity, f.evidence["deviations"]) for f in apart]
    return found, far, mended.of("NS504"), "NS504" in mended.silent, unlike


@needs_gloo
def test_ranks_that_differ_are_found_on_every_rank_and_merged_ones_are_not(tmp_path: Path) -> None:
    seen = on_two_ranks(tmp_path, watched_alone)
    assert seen[0] == seen[1]
    ((severity, deviations),), far, left, looked, unlike = seen[0]
    assert severity == "warning"
    assert deviations == far["1"] > 0.5
    assert (left, looked) == ((), True)
    assert unlike is None, "models that differ are not compared, and nobody waits"


def compared_views(rank: int) -> tuple[str, ...]:
    """How one, and two views of a batch before each step are told of; and accumulated domains."""
    told = []
    for views, apart in ((1, 0.0), (2, 0.0), (2, 8.0)):
        model = small()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        with watch(model, optimizer) as loop:
            for seed in range(8):
                optimizer.zero_grad()
                for view in range(views):
                    given = rows(seed=100 * rank + 10 * seed + view) + apart * view
                    model(given).square().mean().backward()
                optimizer.step()
        found = loop.diagnosis().of("NS504")
        told.append(" ".join(f"{f.severity}: {f.message}" for f in found if "alike" in f.message))
    return tuple(told)


@needs_gloo
def test_two_views_on_ranks_that_share_no_statistics(tmp_path: Path) -> None:
    for one, two, domains in on_two_ranks(tmp_path, compared_views):
        assert two.startswith("info: 1 batch norm got two batches alike before a step")
        assert one == domains == ""


def test_without_ranks_nothing_is_compared() -> None:
    assert rank_distances({"1": batch_norms(small())[0]}) is None
