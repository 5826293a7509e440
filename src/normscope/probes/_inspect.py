"""The inside of a trained network: statistics, answers, and some images on their way through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._shapes import Batch
from normscope.anatomy import preserved
from normscope.data import Split
from normscope.nn import MLP, NormalizedLayer, set_population_statistics
from normscope.probes._layers import affine, known_layers, stages
from normscope.probes._pictures import in_greys
from normscope.records import History, Inspection, LayerStatistics, Mistake, Specimen

_MISTAKES, _FOLLOWED_MISTAKES = 40, 10
_CHUNK_ROWS = 512  # as where a run is tested: the same products, and so the same answers
_DIGITS = 4

_Numbers = tuple[float, ...]


def inspect(
    network: nn.Module, *, train: Split, test: Split, history: History | None = None
) -> Inspection:
    """Look inside a network: what its layers normalize by, and what it makes of the test images.

    The network is a guest: its modes, buffers, gradients and the random state are afterwards as
    they were, also where something raises on the way.

    Statistics are float32, exactly. What belongs to single images (probabilities, s1, s2) has four
    significant digits. Followed through the network are the first correctly answered image of
    every class, and the ten surest mistakes. Of a network that is not an `MLP` as `known_layers`
    knows it, only the answers are seen.

    Args:
        network: maps flat images to logits.
        train: the training set, whose population statistics are taken.
        test: what the answers are given to, under running statistics.
        history: what a `HistoryProbe` saw.

    Example:
        >>> split = Split(np.zeros((4, 2, 2), np.float32), np.array([0, 1, 2, 2]))
        >>> seen = inspect(MLP([4, 3], norm=nn.BatchNorm1d), train=split, test=split)
        >>> seen.confusion, len(seen.mistakes), len(seen.layers[0].running_mean)
        (((1, 0, 0), (1, 0, 0), (2, 0, 0)), 3, 3)
    """
    with preserved(network), torch.no_grad():
        network.eval()
        answers = _Answers.of(network, test)
        picture = in_greys(test)
        mistakes = answers.mistakes()
        rows = [*answers.first_right(), *mistakes[:_FOLLOWED_MISTAKES]]
        specimens = list(_specimens(network, answers, test, rows, picture))
        layers = list(_statistics(network, train))  # last: it overwrites the running statistics
        return Inspection(
            history=history,
            layers=tuple(layers),
            confusion=answers.confusion(),
            specimens=tuple(specimens),
            mistakes=tuple(answers.mistake(row, picture) for row in mistakes[:_MISTAKES]),
        )


@dataclass(frozen=True)
class _Answers:
    """What a network says to every test row.

    Attributes:
        labels: what the rows are, ``[rows]``.
        answers: what the network says they are, ``[rows]``.
        probabilities: float64, ``[rows, classes]``.
    """

    labels: np.ndarray
    answers: np.ndarray
    probabilities: np.ndarray

    @classmethod
    def of(cls, network: nn.Module, test: Split) -> "_Answers":
        """Ask the network, in the mode that it is in."""
        chunks = _flat(network, test.images).split(_CHUNK_ROWS)
        logits = torch.cat([network(chunk) for chunk in chunks]).cpu()
        probabilities = logits.double().softmax(dim=1)
        return cls(test.labels, logits.argmax(dim=1).numpy(), probabilities.numpy())

    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Rows by label and by answer."""
        counts = np.zeros((self.probabilities.shape[1],) * 2, dtype=int)
        np.add.at(counts, (self.labels, self.answers), 1)
        return tuple(map(tuple, counts.tolist()))

    def mistakes(self) -> list[int]:
        """The rows that are answered wrong, the surest first."""
        rows = np.flatnonzero(self.labels != self.answers)
        sure = self.probabilities[rows, self.answers[rows]]
        order: list[int] = rows[np.argsort(-sure, kind="stable")].tolist()
        return order

    def first_right(self) -> list[int]:
        """Of every class that has one, the first row that is answered right."""
        right = np.flatnonzero(self.labels == self.answers)
        _, first = np.unique(self.labels[right], return_index=True)
        rows: list[int] = right[first].tolist()
        return rows

    def mistake(self, row: int, picture: Callable[[int], str]) -> Mistake:
        """A row that was answered wrong."""
        label, answer = int(self.labels[row]), int(self.answers[row])
        probability = _rounded(self.probabilities[row, [answer]])[0]
        return Mistake(
            row=row, image=picture(row), label=label, answer=answer, probability=probability
        )


def _specimens(
    network: nn.Module,
    answers: _Answers,
    test: Split,
    rows: list[int],
    picture: Callable[[int], str],
) -> Iterator[Specimen]:
    """Rows on their way through the network, in eval mode."""
    layers = known_layers(network)
    seen = list(stages(layers, _flat(network, test.images[rows]), batch_statistics=False))
    with_s2 = any(isinstance(layer.norm, nn.LayerNorm) for layer in layers)
    for index, row in enumerate(rows):
        yield Specimen(
            row=row,
            image=picture(row),
            label=int(test.labels[row]),
            probabilities=_rounded(answers.probabilities[row]),
            s1=tuple(_rounded(layer.s1[index].cpu().numpy()) for layer in seen),
            s2=tuple(_rounded(layer.s2[index].cpu().numpy()) for layer in seen if with_s2),
        )


def _statistics(network: nn.Module, train: Split) -> Iterator[LayerStatistics]:
    """Every layer's; the running statistics of `network` become those of the population."""
    layers = known_layers(network)
    running = [_tracked(layer) for layer in layers]
    if isinstance(network, MLP) and any(mean for mean, _ in running):
        set_population_statistics(network, _flat(network, train.images))
    for layer, (running_mean, running_variance) in zip(layers, running, strict=True):
        gamma, beta = affine(layer)
        population_mean, population_variance = _tracked(layer)
        yield LayerStatistics(
            norm=_kind(layer),
            eps=float(getattr(layer.norm, "eps", 0.0)),
            gamma=_exact(gamma),
            beta=_exact(beta),
            running_mean=running_mean,
            running_variance=running_variance,
            population_mean=population_mean,
            population_variance=population_variance,
        )


def _kind(layer: NormalizedLayer) -> Literal["batch", "layer", "none"]:
    if isinstance(layer.norm, _BatchNorm):
        return "batch"
    return "layer" if isinstance(layer.norm, nn.LayerNorm) else "none"


def _tracked(layer: NormalizedLayer) -> tuple[_Numbers, _Numbers]:
    """Mean and variance that a batch norm holds; nothing of other layers."""
    if not isinstance(layer.norm, _BatchNorm):
        return (), ()
    return _exact(layer.norm.running_mean), _exact(layer.norm.running_var)


def _flat(network: nn.Module, images: np.ndarray) -> Batch:
    """Images as the network takes them: flat, where it is."""
    device = next(network.parameters()).device
    return torch.from_numpy(images).flatten(1).to(device)


def _exact(values: Tensor | None) -> _Numbers:
    """The shortest decimals that are read back as the same float32."""
    if values is None:
        return ()
    return tuple(map(float, values.detach().cpu().numpy().astype(str)))


def _rounded(values: np.ndarray) -> _Numbers:
    """To four significant digits."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
