"""Positions of a batch that look like padding."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from normscope.stats import Moments

_WIDEST_EDGE = 3
"""A convolution before the layer sees zeros beyond the last position, and makes others of that."""
_SHORTEST = 4
"""Rows of fewer positions are not looked at."""
_SAMPLE = 16
"""Of the numbers of a vector, about so many are compared first."""
_NEAR = 1e-5
"""Two positions are one value if they differ by less than this share of the largest number."""
_ELSEWHERE = 0.1
"""Of the vector that fills ends, at most this share may stand elsewhere: else it is background."""


@dataclass(frozen=True, eq=False)
class Padding:
    """One vector of channels that fills the end of some rows of a batch.

    Attributes:
        share: of all positions that are padding.
        without: the moments of every channel over the other positions.
    """

    share: float
    without: Moments


def padding_of(x: Tensor) -> Padding | None:
    """Whether rows of a batch end, or begin, in one and the same vector, at differing lengths.

    In `[N, C, L]` a position is a vector of C numbers, in `[N, C, H, W]` (a spectrogram) a column
    of C·H. `[N·L, C]` is taken apart where its runs of one vector end at multiples of one length.
    Rows must be of several lengths, and the vector must hardly occur anywhere else: a background, a
    border around a picture, or the zeros of a ReLU are no padding.

    Args:
        x: what a batch norm is given, at least two-dimensional, finite.

    Returns:
        None if nothing looks like it.

    Example:
        >>> x = torch.randn(2, 3, 10)
        >>> padding_of(x) is None
        True
        >>> x[1, :, 7:] = 0
        >>> padding_of(x).share, padding_of(x).without.count
        (0.15, 17)
    """
    columns = _columns(x) if len(x) > 1 else None
    if columns is None or columns.shape[2] < _SHORTEST:
        return None
    mask = _padded(columns)
    if mask is None:
        return None
    if x.ndim == 2:
        kept = x[~mask.flatten()]
    else:  # every position of a padded column
        whole = mask if x.ndim == 3 else mask[:, None, :].expand(-1, math.prod(x.shape[2:-1]), -1)
        kept = x.flatten(2).transpose(1, 2)[~whole.flatten(1)]
    return Padding(float(mask.double().mean()), Moments.of(kept, [0]))


def _columns(x: Tensor) -> Tensor | None:
    """As `[rows, numbers of a position, positions]`, if it has rows of positions."""
    if x.ndim > 2:
        return x.flatten(1, -2)
    length = _row_length(x)
    return None if length is None else x.unflatten(0, (-1, length)).transpose(1, 2)


def _row_length(x: Tensor) -> int | None:
    """The length of the rows that were laid end to end, if runs of one vector tell it."""
    same = _near(x[1:], x[:-1], dim=1)
    if not bool(same.any()):
        return None
    _, last = max((end - start, end) for start, end in _runs(same))
    runs = _runs(_near(x, x[last], dim=1))
    # Runs end where a row does; of rows that are padded at their beginning, they start there.
    for borders in ([end for _, end in runs], [start for start, _ in runs]):
        length = math.gcd(len(x), *borders)
        if _SHORTEST <= length < len(x):
            return length
    return None


def _runs(marks: Tensor) -> list[tuple[int, int]]:
    """Where runs of True start, and where the first place after each is."""
    edge = marks.new_zeros(1)
    before, after = torch.cat([edge, marks]), torch.cat([marks, edge])
    starts = (after & ~before).nonzero().flatten().tolist()
    ends = (before & ~after).nonzero().flatten().tolist()
    return list(zip(starts, ends, strict=True))


def _padded(x: Tensor) -> Tensor | None:
    """Which positions of `[rows, numbers, positions]` are padding, `[rows, positions]`."""
    for edge in range(min(_WIDEST_EDGE, x.shape[2] - _SHORTEST) + 1):
        if (mask := _filled_ends(x, edge)) is not None:
            return mask
        begins = bool(_repeats(x, edge, edge + 1).any())  # only then it is worth a copy
        if begins and (mask := _filled_ends(x.flip(2), edge)) is not None:
            return mask.flip(1)
    return None


def _filled_ends(x: Tensor, edge: int) -> Tensor | None:
    """Which positions are padding, if the last ones of some rows are, but for the very edge."""
    length = x.shape[2] - edge
    repeats = _repeats(x, length - 1, length - 2)
    if not bool(repeats.any()):  # nearly every input ends here, at no cost
        return None
    candidates = x[repeats, :, :length]
    longest = _last_run(_near(candidates, candidates[:, :, -1:], dim=1)).argmax()
    match = _near(x[:, :, :length], candidates[longest, :, -1:], dim=1)
    runs = _last_run(match)
    inside = int(runs.sum())
    if len(runs[runs < length].unique()) < 2 or int(match.sum()) - inside > _ELSEWHERE * inside:
        return None
    place = torch.arange(x.shape[2], device=x.device)
    return (place >= length - runs[:, None]) & (runs > 0)[:, None]


def _repeats(x: Tensor, at: int, beside: int) -> Tensor:
    """Which rows have one vector at two positions."""
    some = x[:, :: max(1, x.shape[1] // _SAMPLE)]  # mostly these tell that there are none
    found = _near(some[:, :, at], some[:, :, beside], dim=1)
    return _near(x[:, :, at], x[:, :, beside], dim=1) if bool(found.any()) else found


def _last_run(marks: Tensor) -> Tensor:
    """Per row, how many marks stand at its end without a gap."""
    return marks.flip(1).long().cumprod(dim=1).sum(dim=1)


def _near(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Whether vectors that lie along a dimension are the same, up to rounding."""
    return ((a - b).abs() <= _NEAR * b.abs().amax()).all(dim=dim)
