"""The inside of a trained network: statistics, answers, and some images on their way through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from normscope.anatomy import preserved
from normscope.data import Split
from normscope.probes._images import chunks, where_it_is
from normscope.probes._layers import known_layers, stages
from normscope.probes._pictures import as_png
from normscope.probes._statistics import layer_statistics
from normscope.records import History, Inspection, Mistake, Specimen

_MISTAKES, _FOLLOWED_MISTAKES = 40, 10
_DIGITS = 4


def inspect(
    network: nn.Module, *, train: Split, test: Split, history: History | None = None
) -> Inspection:
    """Look inside a network: what its layers normalize by, and what it makes of the test images.

    The network is a guest: its modes, buffers, gradients and the random state are afterwards as
    they were, also where something raises on the way.

    Statistics are float32, exactly. What belongs to single images (probabilities, s1, s2) has four
    significant digits. Followed through the network are the first correctly answered image of
    every class, and the ten surest mistakes; through an `MLP`, that is. Of any other network the
    batch norms are seen, in the order in which a pass calls them.

    Args:
        network: maps such images as the splits hold to logits.
        train: the training set, whose population statistics are taken.
        test: what the answers are given to, under running statistics.
        history: what a `HistoryProbe` saw.

    Example:
        >>> from normscope.nn import MLP
        >>> split = Split(np.zeros((4, 2, 2), np.float32), np.array([0, 1, 2, 2]))
        >>> seen = inspect(MLP([4, 3], norm=nn.BatchNorm1d), train=split, test=split)
        >>> seen.confusion, len(seen.mistakes), len(seen.layers[0].running_mean)
        (((1, 0, 0), (1, 0, 0), (2, 0, 0)), 3, 3)
    """
    with preserved(network), torch.no_grad():
        network.eval()
        answers = _Answers.of(network, test)
        picture = as_png(test)
        mistakes = answers.mistakes()
        rows = [*answers.first_right(), *mistakes[:_FOLLOWED_MISTAKES]]
        specimens = list(_specimens(network, answers, test, rows, picture))
        layers = layer_statistics(network, train)  # last: it overwrites the running statistics
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
        logits = torch.cat([network(chunk) for chunk in chunks(network, test)]).cpu()
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
    """Rows on their way through the network, in eval mode; none where the way is not known."""
    if not (layers := known_layers(network)):
        return
    images = where_it_is(network, test.images[rows]).flatten(1)
    seen = list(stages(layers, images, batch_statistics=False))
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


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """To four significant digits."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values.tolist())
