"""Whether a row's answer depends on the rows beside it."""

import dataclasses
import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from normscope.doctor._case import Case
from normscope.doctor._observation import Passed


def dependence_on_batch_mates(case: Case) -> float | None:
    """How far answers move, in eval mode, when other rows make up the second half of a batch.

    The first half takes the place of the second, so that shapes stay. The root mean square over the
    rows of the first half, in deviations of the answers. It takes one spare batch, the first time
    that a rule asks. None if there is none with four rows, the model does not take it, it has no
    answer for each row, or two answers to one row differ: then it is random in eval mode.

    Raises:
        UnknownError: if there are no data.
    """
    return case.once(_measured)


def _measured(case: Case) -> float | None:
    seen = case.answers
    batch = seen.spare()
    if batch is None or batch.rows < 4 or batch.running is None:
        return None
    half = batch.rows // 2
    try:
        changed = seen.again(_first_half_twice(batch), nullcontext())
    except Exception:  # noqa: BLE001 - a model need not take rows in another order
        return None
    whole, part = batch.running.output, None if changed is None else changed.output
    if whole is None or part is None or len(whole) != batch.rows or len(part) != batch.rows:
        return None
    deviation = float(whole.std(dim=0, correction=0).square().mean().sqrt())
    moved = float((part - whole)[:half].square().mean().sqrt())
    random = float((part[half : 2 * half] - part[:half]).square().mean().sqrt())
    if not deviation > 0 or not math.isfinite(moved) or 2 * random > moved > 0:
        return None
    return moved / deviation


def _first_half_twice(batch: Passed) -> Passed:
    order = torch.arange(batch.rows) % (batch.rows // 2)

    def reordered(value: Any) -> Any:
        whole = isinstance(value, Tensor) and value.ndim and len(value) == batch.rows
        return value[order.to(value.device)] if whole else value

    return dataclasses.replace(batch, values=pytree.tree_map(reordered, batch.values))
