"""Batches whose statistics differ by more than the luck of the draw.

## What it finds

It compares the means of the batches, at the first batch norm that is trained, by an analysis of
variance: F is the variance between batches over what rows drawn at random would give, and the
wander is how far the batches' true means lie apart, in deviations within a batch. It also looks at
how many classes a batch has against what shuffling would give, and at loaders that go in order
through sorted labels.

## Why it matters

A batch norm takes every batch for a sample of the whole. In batches of one class, one domain or one
video the mean that is subtracted *is* the class: training uses what eval mode does not have, and
the running statistics are an average that describes none of the batches.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> rows = torch.randn(256, 4) + torch.arange(4.0).repeat_interleave(64)[:, None]
    >>> check(torch.nn.BatchNorm1d(4), rows.split(32)).of("NS407")[0].message
    'The batches are not alike: their means wander by ...'

## Fix

Shuffle: ``DataLoader(..., shuffle=True)``, or a sampler that mixes classes and domains. Then train
again. `normscope.recalibrate` makes the running statistics exact; it cures the symptom only, since
the network has learned from batches that were centred each by itself.

## On purpose

Streams and videos that cannot be shuffled, one domain per batch with statistics of its own (AdaBN):
suppress it, with that as the reason. Batches for evaluation may be in any order: a model that is
handed over in eval mode, without an optimizer, gets an info unless batch statistics answer better.

## Symptoms

- accuracy is high in train mode and falls to chance in eval mode
- data sorted by class, shuffle=False
- loss jumps up and down with the batch
- validation is bad when the data loader does not shuffle
- one domain or one video per batch

## References

- openpifpaf/openpifpaf#308: batches in order
- warpem/miss-alignment#6, scikit-adaptation/skada#252, adapt-python/adapt#92: one domain or class
  at a time
- Searle, Casella & McCulloch 1992, *Variance Components*, section 3.6
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from normscope.doctor._batches import is_sorted_by_class, rows_of
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._gap import gap_of
from normscope.doctor._observation import Observation, Passed
from normscope.doctor._rules import Found
from normscope.doctor._trained import in_training, trained_batch_norms
from normscope.records import Evidence
from normscope.stats import BatchSpread, Moments, merge_all

_PURE = 0.6
"""Batches with fewer classes than this share of what shuffling gives are not shuffled."""

_FIX = (
    "Shuffle the training data (DataLoader(..., shuffle=True), or a sampler that mixes what a "
    "batch has too much of) and train again. normscope.recalibrate(model, loader) cures the "
    "symptom only."
)


def find(case: Case) -> Iterator[Found]:
    """Yield a finding if batches are not alike, at the first batch norm that is trained."""
    seen = case.observation
    trained = trained_batch_norms(case)
    path = next((path for path in seen.eval_sights.of if path in trained), None)
    if path is None:
        return
    spread, classes = _spread(seen, path), _Classes.of(seen.batches)
    in_order = is_sorted_by_class(case.loader)
    pure = classes is not None and classes.share < _PURE
    if not spread.is_wandering and not in_order and not pure:
        return
    yield Found(
        severity="warning" if spread.is_wandering and _matters(case, path) else "info",
        module=path,
        message=" ".join(_told(spread, classes, in_order=in_order)),
        fix=_FIX,
        evidence=_evidence(spread, classes),
    )


def _spread(seen: Observation, path: str) -> BatchSpread:
    """How far the batches' means at a layer are apart; rows are the units, not positions.

    Raises:
        UnknownError: if there are too few batches or rows.
    """
    by_batch: dict[int, list[Moments]] = {}
    for sight in seen.eval_sights.of[path]:
        if sight.row_moments is not None:
            by_batch.setdefault(sight.batch, []).append(sight.row_moments)
    batches = [merge_all(calls) for calls in by_batch.values()]
    if len(batches) < 2 or sum(batch.count for batch in batches) <= len(batches):
        msg = "needs two batches of two rows or more"
        raise UnknownError(msg)
    return BatchSpread.of(batches)


def _matters(case: Case, path: str) -> bool:
    """Whether training sees such batches, and what the layer is given are rows of its own.

    Nodes of one graph, or steps of one sequence, are alike in a shuffled loader as well.
    """
    seen = case.observation
    if not all(
        sight.shape[0] == _independent_rows(batch)
        for batch in seen.batches
        for sight in seen.eval_sights.of[path]
        if sight.batch == batch.number
    ):
        return False
    if in_training(case):
        return True
    gap = gap_of(seen)
    return gap is not None and gap.measure != "output" and gap.is_harm


def _independent_rows(batch: Passed) -> int | None:
    """How many rows a batch has; None where its tensors do not agree on that."""
    if batch.classes is not None and len(batch.classes) != batch.rows:
        return None
    return batch.rows if batch.values is None else rows_of(batch.values)


@dataclass(frozen=True)
class _Classes:
    """How many classes batches have.

    Attributes:
        there: the mean over batches.
        shuffled: what it is for rows that are drawn from all at random.
    """

    there: float
    shuffled: float

    @classmethod
    def of(cls, batches: Sequence[Passed]) -> "_Classes | None":
        """None where there are no labels, or one class only."""
        labels = [b.classes for b in batches if b.classes is not None and len(b.classes)]
        if len(labels) < 2:
            return None
        _, counts = torch.cat(labels).unique(return_counts=True)
        if len(counts) < 2:
            return None
        absent = 1 - counts.double() / counts.sum()
        return cls(
            sum(len(batch.unique()) for batch in labels) / len(labels),
            sum(float((1 - absent ** len(batch)).sum()) for batch in labels) / len(labels),
        )

    @property
    def share(self) -> float:
        """Of the classes that shuffling would give."""
        return self.there / self.shuffled


def _told(spread: BatchSpread, classes: _Classes | None, *, in_order: bool) -> Iterator[str]:
    if spread.is_wandering:
        yield (
            f"The batches are not alike: their means wander by {spread.typical_wander:.2g} "
            f"deviations (F = {spread.typical_f:.3g}, median over channels; 1 if rows come at "
            "random)."
        )
    if classes is not None and classes.share < _PURE:
        yield (
            f"A batch has {classes.there:.3g} classes on average; shuffled it would have "
            f"{classes.shuffled:.3g}."
        )
    if in_order:
        yield "The loader goes in order through data that are sorted by class."
    if not spread.is_wandering:
        yield "At this layer their means are alike."


def _evidence(spread: BatchSpread, classes: _Classes | None) -> dict[str, Evidence]:
    evidence: dict[str, Evidence] = {
        "wander, deviations": spread.typical_wander,
        "F": spread.typical_f,
        "p": spread.chance,
        "batches": spread.degrees[0] + 1,
        "rows": sum(spread.degrees) + 1,
    }
    if classes is not None:
        evidence |= {"classes per batch": classes.there, "if shuffled": classes.shuffled}
    return evidence
