"""Sequences of several lengths, padded to the longest."""

import torch
from torch import Tensor, nn

from normscope.doctor import check
from normscope.records import Diagnosis

CHANNELS, LONGEST = 4, 24


def speech(*, padded: bool = True, count: int = 6) -> list[Tensor]:
    """Batches of sequences around 2, filled up with zeros."""
    random = torch.Generator().manual_seed(0)
    batches = []
    for _ in range(count):
        batch = 2 + torch.randn(8, CHANNELS, LONGEST, generator=random)
        lengths = torch.randint(4, LONGEST, (8,), generator=random).tolist()
        for row, length in zip(batch, lengths, strict=True):
            row[:, length if padded else LONGEST :] = 0
        batches.append(batch)
    return batches


def encoder() -> nn.Sequential:
    """Convolutions as a speech encoder has them."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(CHANNELS, 6, 5, padding=2),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Conv1d(6, 6, 5, padding=2),
        nn.BatchNorm1d(6),
    )


class MaskedNorm(nn.Module):
    """A batch norm over the positions that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        real = (x != 0).any(dim=1)
        y = torch.zeros_like(x).transpose(1, 2).contiguous()
        y[real] = self.norm(x.transpose(1, 2)[real])
        return y.transpose(1, 2)


class FlatNorm(nn.Module):
    """A batch norm over all positions, laid end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.transpose(1, 2).reshape(-1, CHANNELS))


class NormWithMask(nn.BatchNorm1d):
    """One that is told what is padding."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        del mask
        return super().forward(x)


def bad_speech() -> Diagnosis:
    return check(encoder(), speech())


def good_speech() -> Diagnosis:
    return check(encoder(), speech(padded=False))


def bad_flat() -> Diagnosis:
    return check(FlatNorm(), speech())


def good_flat() -> Diagnosis:
    return check(MaskedNorm(), speech())


def silent_told_by_a_mask() -> Diagnosis:
    return check(NormWithMask(CHANNELS), speech())


def silent_frozen() -> Diagnosis:
    model = encoder()
    for module in model:
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    return check(model, speech())


def silent_zero_is_the_mean() -> Diagnosis:
    """Padding of a few positions with what the mean is anyway."""
    random = torch.Generator().manual_seed(0)
    batches = [torch.randn(8, CHANNELS, LONGEST, generator=random) for _ in range(4)]
    for batch in batches:
        batch[0, :, -3:] = batch[1, :, -1:] = 0
    return check(nn.BatchNorm1d(CHANNELS), batches)


def silent_black_borders() -> Diagnosis:
    random = torch.Generator().manual_seed(0)
    pictures = torch.randn(16, 3, 16, 16, generator=random)
    for i, picture in enumerate(pictures):
        picture[:, :, : 2 + i % 3] = picture[:, :, 13 - i % 2 :] = 0
    return check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), pictures.split(8))
