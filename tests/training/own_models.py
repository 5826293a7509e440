"""Models as a user might write them, for pictures of 6 x 6. Tests copy this file and name it."""

import torch
from torch import Tensor, nn


def convnet(norm: str = "batch", *, classes: int, width: int = 4, dropout: float = 0.3):
    """Images without a channel axis; with dropout, so that training draws random numbers."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width) if norm == "batch" else nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(width * 9, classes),
    )


def plain(inputs: int, classes: int, seed: int):
    """Without batch norm; its weights are drawn from a generator of its own."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs, classes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(classes, inputs, generator=generator) / inputs)
    return model


class Colourful(nn.Module):
    """Takes `[rows, 3, 6, 6]`; its first layer learns its shape from the first rows."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        assert input_shape == (3, 6, 6)
        self.body = nn.Sequential(nn.LazyConv2d(4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        self.head = nn.LazyLinear(classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def grey(classes: int):
    """Takes pictures with a channel axis."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, classes)
    )


class Awkward(nn.Module):
    """Tied and frozen weights, one that is never used, and buffers of many kinds."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(36, 36, bias=False)
        self.second = nn.Linear(36, 36, bias=False)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(36, 36)
        self.frozen.requires_grad_(False)
        self.unused = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(36, classes)
        self.register_buffer("mask", torch.full((2, 2), -torch.inf).triu(1))
        self.register_buffer("part", self.first.weight.detach()[3:])
        self.register_buffer("flags", torch.tensor([True, False]))
        self.register_buffer("nothing", torch.zeros(0))

    def forward(self, images: Tensor) -> Tensor:
        h = self.second(self.first(images.flatten(1)).relu())
        return self.head(h + self.frozen(h))


class Remembering(nn.Linear):
    """Keeps something in its state dict that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None: ...


class Fragile(nn.Linear):
    """Fails where it is trained, and only there."""

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            raise ValueError("not\nlike this")
        return super().forward(images.flatten(1))


class Breaking(nn.Linear):
    """Fails in the middle of its training: where it is called, or on the way back."""

    def __init__(self, classes: int, at: int, backward: bool, message: str) -> None:
        super().__init__(36, classes)
        self.at, self.backward, self.message = at, backward, message
        self.calls = 0

    def forward(self, images: Tensor) -> Tensor:
        if self.training and torch.is_grad_enabled():
            self.calls += 1
            if self.calls == self.at and not self.backward:
                self.fail()
        logits = super().forward(images.flatten(1))
        if self.calls == self.at and logits.requires_grad:
            logits.register_hook(self.fail)
        return logits

    def fail(self, *_: Tensor) -> None:
        raise RuntimeError(self.message)


def breaking(
    classes: int, seed: int, at: int = 8, backward: bool = False, message: str = "a\nfault"
):
    """Fails at one of its steps, unless the seed is 1."""
    return Breaking(classes, 0 if seed == 1 else at, backward, message)


class TwoFaced(nn.Linear):
    """Returns something else where it is trained."""

    def forward(self, images: Tensor):
        logits = super().forward(images.flatten(1))
        return (logits, logits) if self.training else logits


def failing():
    raise OSError(28, "No space left")


def unlucky(seed: int, classes: int):
    """Fails for some seeds only."""
    if seed == 1:
        raise ValueError("not this one")
    return plain(36, classes, seed)


def leaving():
    raise SystemExit("usage: own_models")


def nothing():
    return None


def too_narrow():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 2))


def too_small():
    return nn.Sequential(nn.Flatten(), nn.Linear(35, 3))


def untrainable():
    return nn.Sequential(nn.Flatten(), nn.AvgPool1d(12))


def remembering():
    return nn.Sequential(nn.Flatten(), Remembering(36, 3))


def fragile():
    return Fragile(36, 3)


def two_faced():
    return TwoFaced(36, 3)


network = nn.Linear(36, 3)
number = 3
