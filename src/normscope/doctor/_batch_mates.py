"""Whether a row's answer depends on the rows beside it."""

import dataclasses
import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from normscope._errors import NormscopeError
from normscope.doctor._case import Case, UnknownError
from normscope.doctor._observation import Passed


def dependence_on_batch_mates(case: Case) -> float:
    """How far answers move, in eval mode, when other rows make up the second half of a batch.

    The first half takes the place of the second, so that shapes stay. The root mean square over the
    rows of the first half, in deviations of the answers. It takes one spare batch, the first time
    that a rule asks.

    Raises:
        UnknownError: if there are no data, no batch is left with four rows, the model does not take
            it, it has no answer for each row, all its answers are one, or two answers to one row
            differ: then it is random in eval mode.
    """
    measured = case.once(_measured)
    if isinstance(measured, str):
        raise UnknownError(measured)
    return measured


def _measured(case: Case) -> float | str:
    """The dependence, or why it is not known."""
    seen = case.answers
    batch = seen.spare()
    if batch is None or batch.rows < 4 or batch.running is None:
        return "needs a batch of four rows or more that may pass the model once more"
    half = batch.rows // 2
    try:
        changed = seen.again(_first_half_twice(batch), nullcontext())
    except NormscopeError as error:
        return f"needs a model that takes the rows of a batch in another order. {error}"
    whole, part = batch.running.output, None if changed is None else changed.output
    if whole is None or part is None or len(whole) != batch.rows or len(part) != batch.rows:
        return "needs an answer for each row of a batch"
    deviation = float(whole.std(dim=0, correction=0).square().mean().sqrt())
    moved = float((part - whole)[:half].square().mean().sqrt())
    random = float((part[half : 2 * half] - part[:half]).square().mean().sqrt())
    if not deviation > 0 or not math.isfinite(moved):
        return "needs answers that are finite, and not the same for all rows"
    if 2 * random > moved > 0:
        return "needs a model that is not random in eval mode: two answers to one row differ"
    return moved / deviation


def _first_half_twice(batch: Passed) -> Passed:
    order = torch.arange(batch.rows) % (batch.rows // 2)

    def reordered(value: Any) -> Any:
        whole = isinstance(value, Tensor) and value.ndim and len(value) == batch.rows
        return value[order.to(value.device)] if whole else value

    return dataclasses.replace(batch, values=pytree.tree_map(reordered, batch.values))
