"""How much worse a model is with running statistics than with those of the batch."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from normscope.anatomy import CONSTANT, Measure, Outcome
from normscope.doctor._counted import counted
from normscope.doctor._observation import Observation
from normscope.records import Evidence

_SURE = 3.0
_LEAST: dict[Measure, float] = {
    "accuracy": 0.01, "squared error": 0.05, "loss": 0.1, "output": 0.5,
}  # fmt: skip
_BROKEN: dict[Measure, float] = {
    "accuracy": 0.2, "squared error": 0.5, "loss": math.inf, "output": math.inf,
}  # fmt: skip
"""In the units of `Gap.size`; of a loss, whose unit nobody knows, in losses by the batch."""


@dataclass(frozen=True)
class Gap:
    """One set of rows, answered both ways.

    Attributes:
        measure: by which the answers are judged.
        running: the mean score with running statistics: the share right, minus the squared error
            in units of the targets' variance, or minus the loss; NaN where nothing says what is
            right.
        by_batch: the same with batch statistics.
        size: how much better batch statistics are; where nothing says what is right, how far the
            answers are apart, in deviations of those with batch statistics.
        error: the standard error of `size` over rows; 0 where nothing says what is right.
        rows: how many; of losses, of which there is one for a batch, how many batches.
        finite: whether the answers with running statistics are.
    """

    measure: Measure
    running: float
    by_batch: float
    size: float
    error: float
    rows: int
    finite: bool

    @property
    def is_harm(self) -> bool:
        """Whether running statistics are worse, by more than luck and enough to matter."""
        return not self.finite or (
            self.size >= _LEAST[self.measure] * self._unit and self.size > _SURE * self.error
        )

    @property
    def is_broken(self) -> bool:
        """Whether the model with running statistics is of no use."""
        return not self.finite or self.size >= _BROKEN[self.measure] * self._unit

    @property
    def _unit(self) -> float:
        return abs(self.by_batch) if self.measure == "loss" else 1.0

    def over(self, rows: int) -> str:
        """So many rows, or batches, in words."""
        if self.measure == "loss":
            return f"{rows:,} batch{'es' * (rows != 1)}"
        return counted(rows, "row")

    def told(self) -> str:
        """In words."""
        n = f"n = {self.over(self.rows)}"
        if not self.finite:
            return f"With running statistics the answers are not finite ({n})."
        if self.measure == "accuracy":
            return (
                f"Accuracy is {100 * self.running:.1f} % with running statistics and "
                f"{100 * self.by_batch:.1f} % with batch statistics ({n})."
            )
        if self.measure == "squared error":
            return (
                f"The squared error is {-self.running:.3g} of the targets' variance with running "
                f"statistics and {-self.by_batch:.3g} with batch statistics ({n})."
            )
        if self.measure == "loss":
            return (
                f"The loss, the one number that the model returns, is {-self.running:.3g} with "
                f"running statistics and {-self.by_batch:.3g} with batch statistics ({n})."
            )
        return (
            f"The answers with running statistics are {self.size:.2g} deviations from those with "
            f"batch statistics ({n})."
        )

    def evidence(self) -> dict[str, Evidence]:
        """In numbers."""
        unit = "batches" if self.measure == "loss" else "rows"
        evidence: dict[str, Evidence] = {"gap": self.size, unit: self.rows}
        if self.measure != "output":
            evidence |= {
                f"{self.measure}, running statistics": self._shown(self.running),
                f"{self.measure}, batch statistics": self._shown(self.by_batch),
                "standard error of the gap": self.error,
            }
        return evidence

    def _shown(self, score: float) -> float:
        """What a score is made from."""
        return score if self.measure == "accuracy" else -score


def gap_of(observation: Observation) -> Gap | None:
    """Over all batches that were answered both ways; None where nothing can be compared."""
    pairs = [
        (batch.running, batch.by_batch)
        for batch in observation.batches
        if batch.running is not None and batch.by_batch is not None
        if is_finite(batch.by_batch)  # or else the data are to blame, or the weights
    ]
    return gap_between([a for a, _ in pairs], [b for _, b in pairs])


def why_no_gap(observation: Observation) -> str:
    """What is missing where nothing can be compared."""
    both = [
        (batch.running, batch.by_batch)
        for batch in observation.batches
        if batch.running is not None and batch.by_batch is not None
    ]
    if not both:
        return "needs batches in which every batch norm has more than one value per channel"
    if all(by_batch.output is None for _, by_batch in both):
        return (
            "needs answers: the model returned no floating-point tensor; pass "
            "forward=lambda model, batch: ... that returns its outputs, or its loss"
        )
    if not any(is_finite(by_batch) for _, by_batch in both):
        return "needs answers that are finite with batch statistics"
    return "needs answers of one shape: they have another with batch statistics than in eval mode"


def gap_between(running: Sequence[Outcome], by_batch: Sequence[Outcome]) -> Gap | None:
    """Between answers to the same batches; None where nothing can be compared."""
    pairs = [
        (a, b)
        for a, b in zip(running, by_batch, strict=True)
        if a.output is not None and b.output is not None and a.output.shape == b.output.shape
    ]
    if not pairs:
        return None
    finite = all(bool(a.output.isfinite().all()) for a, _ in pairs if a.output is not None)
    measure, scored = _by_one_measure(pairs)
    if scored and not _is_no_score(measure, [b for _, b in scored]):
        mine, theirs = torch.cat([a for a, _ in scored]), torch.cat([b for _, b in scored])
        return _of_scores(measure, mine, theirs, finite=finite)
    answers = torch.cat([a.output for a, _ in pairs if a.output is not None])
    references = torch.cat([b.output for _, b in pairs if b.output is not None])
    size = _distance(answers, references)
    return Gap("output", math.nan, math.nan, size, 0.0, len(answers), finite)


def is_finite(outcome: Outcome) -> bool:
    """Whether all numbers of an answer are."""
    return outcome.output is None or bool(outcome.output.isfinite().all())


def _by_one_measure(
    pairs: Sequence[tuple[Outcome, Outcome]],
) -> tuple[Measure, list[tuple[Tensor, Tensor]]]:
    """What most batches are judged by, and the scores of those; none where nothing judges them.

    A small batch may look like another kind of data: counts that are all 0 and 1, or targets that
    are all the same.
    """
    measure = Counter(b.measure for _, b in pairs).most_common(1)[0][0]
    alike = [(a.scores, b.scores) for a, b in pairs if a.measure == b.measure == measure]
    return measure, [(a, b) for a, b in alike if a is not None and b is not None]


def _is_no_score(measure: Measure, scores: Sequence[Tensor]) -> bool:
    """A squared error far above that of a constant: the targets are not what answers look like."""
    return measure == "squared error" and float(-torch.cat(list(scores)).mean()) > CONSTANT


def _of_scores(measure: Measure, running: Tensor, by_batch: Tensor, *, finite: bool) -> Gap:
    difference = by_batch - running
    rows = len(difference)
    error = float(difference.std()) / math.sqrt(rows) if rows > 1 else math.inf
    means = float(running.mean()), float(by_batch.mean())
    return Gap(measure, *means, float(difference.mean()), error, rows, finite)


def _distance(answers: Tensor, references: Tensor) -> float:
    """The root mean square difference, in units of the references' deviation over rows."""
    wide = references.var(dim=0, correction=0).mean()
    apart = (answers - references).square().mean()
    if not wide > 0:
        return math.inf if apart > 0 else 0.0
    return float((apart / wide).sqrt())
