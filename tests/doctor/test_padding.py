"""Padding is found where it was put, and nowhere else."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from normscope.data import load
from normscope.doctor._padding import padding_of


def noise(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def sequences(
    lengths: Sequence[int], longest: int, *, channels: int = 3, value: float = 0.0
) -> Tensor:
    """Rows that end in one value."""
    x = noise(len(lengths), 3, longest)
    for row, length in zip(x, lengths, strict=True):
        row[:, length:] = value
    return x


def slow_moments(x: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and variance of what is no padding, by a loop."""
    kept = torch.cat(
        [row[..., :length].flatten(1) for row, length in zip(x, lengths, strict=True)], 1
    )
    return kept.mean(dim=1), kept.var(dim=1, correction=0)


several = st.lists(st.integers(1, 12), min_size=2, max_size=8).filter(
    lambda lengths: len(set(lengths)) > 1 and min(lengths) < 11
)


@settings(max_examples=60, deadline=None)
@given(lengths=several, value=st.sampled_from([0.0, -1.5]), at_the_end=st.booleans())
def test_it_is_found_where_it_was_put(lengths: list[int], value: float, at_the_end: bool) -> None:
    x = sequences(lengths, 12, value=value)
    found = padding_of(x if at_the_end else x.flip(2))
    assert found is not None
    assert found.share == pytest.approx(1 - sum(lengths) / (12 * len(lengths)))
    mean, variance = slow_moments(x, lengths)
    assert found.without.count == sum(lengths)
    torch.testing.assert_close(found.without.mean, mean)
    torch.testing.assert_close(found.without.population_variance, variance)


@settings(max_examples=30, deadline=None)
@given(lengths=several)
def test_rows_laid_end_to_end_are_taken_apart(lengths: list[int]) -> None:
    x = sequences(lengths, 12)
    flat = x.transpose(1, 2).reshape(-1, 3)
    found, whole = padding_of(flat), padding_of(x)
    if found is None:  # only where it could be one row, or rows of several laid together
        ends = [number + 1 for number, length in enumerate(lengths) if length < 11]
        assert len(ends) == 1 or math.gcd(*ends) > 1
        return
    assert whole is not None
    assert found.share == pytest.approx(whole.share)
    torch.testing.assert_close(found.without.mean, whole.without.mean)


@pytest.mark.parametrize("value", [0.0, 1.3])
def test_it_is_found_behind_a_convolution_which_sees_the_edge(value: float) -> None:
    lengths = [20, 12, 9, 16, 5]
    with torch.no_grad():
        y = nn.Conv1d(3, 6, 5, padding=2).double()(sequences(lengths, 20, value=value))
    found = padding_of(y)
    assert found is not None
    # The filter reaches two positions over the last one of a sequence.
    assert found.share == pytest.approx(1 - sum(min(n + 2, 20) for n in lengths) / 100, abs=0.03)


def test_columns_of_a_spectrogram() -> None:
    lengths = [30, 20, 10, 25]
    x = noise(4, 2, 8, 30)
    for row, length in zip(x, lengths, strict=True):
        row[:, :, length:] = 0
    found = padding_of(x)
    assert found is not None
    assert found.without.count == sum(lengths) * 8
    torch.testing.assert_close(found.without.mean, slow_moments(x, lengths)[0])


def bordered(left: int, right: int) -> Tensor:
    """Pictures with a black border, each of a width of its own."""
    x = noise(8, 3, 16, 16)
    for i, picture in enumerate(x):
        picture[:, :, : left + i % 3] = 0
        picture[:, :, 16 - right - i % 2 :] = 0
    return x


def background() -> Tensor:
    """Blank but for a patch whose place differs."""
    x = torch.ones(8, 3, 16, 16, dtype=torch.float64)
    for i, picture in enumerate(x):
        picture[:, 4:9, i : i + 5] = noise(3, 5, 5)
    return x


NO_PADDING = {
    "noise": noise(8, 3, 16),
    "rows": noise(32, 4),
    "one row of features": noise(1, 4),
    "one length": sequences([7, 7, 7], 12),
    "one row": sequences([7], 12),
    "black borders": bordered(2, 2),
    "a background": background(),
    "all the same": torch.ones(4, 3, 16, dtype=torch.float64),
    "some rows empty": torch.cat([noise(4, 3, 16), torch.zeros(4, 3, 16, dtype=torch.float64)]),
    "zeros of a ReLU, one channel": noise(64, 1, 20).relu(),
    "zeros of a ReLU, maps": noise(64, 2, 6, 6).relu(),
    "zeros of a ReLU, rows": noise(64, 2).relu(),
    "letters in one-hot": nn.functional.one_hot(torch.arange(200).remainder(7).remainder(4))
    .double().view(10, 20, 4).transpose(1, 2),
    "repeated rows": noise(8, 3).repeat_interleave(torch.tensor([1, 2, 3, 1, 5, 2, 1, 2]), dim=0),
    "short": noise(4, 3, 3),
}  # fmt: skip


@pytest.mark.parametrize("x", NO_PADDING.values(), ids=NO_PADDING.keys())
def test_what_is_no_padding(x: Tensor) -> None:
    assert padding_of(x) is None


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_real_pictures_have_none(real_data: Path, name: str) -> None:
    pictures = load(real_data / name).test.images[:256]
    x = torch.as_tensor(pictures).double().reshape(-1, 1, 28, 28) / 255
    with torch.no_grad():
        convolved = nn.Conv2d(1, 4, 3, padding=1).double()(x)
    assert padding_of(x) is None
    assert padding_of(x.flatten(1)) is None
    assert padding_of(x.flatten(2)) is None
    assert padding_of(convolved) is None
    x[::2, :, :, 20:] = 0  # the control
    x[:, :, :, :20] = noise(256, 1, 28, 20)
    assert padding_of(x) is not None
