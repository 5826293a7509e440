"""Distributions of every layer's pre-activations while a network trains."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from normscope._shapes import Inputs, Sums
from normscope.data import Split
from normscope.probes._bands import pooled
from normscope.probes._history_file import append, joined, kept_until
from normscope.probes._layers import known_layers, stages
from normscope.probes._own_network import batch_norms_called, look_through
from normscope.records import EpochRecord, History, LayerHistory, Run

_MOST_ROWS, _FEWEST_ROWS, _NUMBERS = 512, 16, 2**20
_EARLY, _REGULAR = 16, 24
_UNIT = 0


class _Start(Protocol):
    """What is looked at before the first step."""

    @property
    def steps(self) -> int: ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def folder(self) -> Path | None: ...


class _Step(Protocol):
    """What is looked at after a step."""

    @property
    def epoch(self) -> int: ...
    @property
    def step(self) -> int: ...


class HistoryProbe:
    """Looks at s1 and s3 of every layer at the `moments` of a training; an observer of `train`.

    At a moment a fixed sample of validation rows passes through the network as one batch in
    training mode (Ioffe & Szegedy 2015, figure 1, which is of test data). Running statistics,
    gradients and random states are left alone, so that the training ends in the same bits as
    without. The pass through an `MLP` is computed by formula, and no module is called. Of any other
    network the batch norms are seen, in the order in which a pass calls them: s1 is what they are
    given, s3 what they give.

    What is sampled: at most 512 rows (fewer where they are large), drawn once by a generator of the
    probe's own, and of a layer's rows times units at most 16 384 values, the same places each time,
    every unit as often as every other. The unit that is followed by itself is the layer's first,
    which before training is like any other.

    Where the run has a folder, every moment is on the disk in its ``history.jsonl`` before the
    checkpoint that follows. A training that is taken up again drops the moments beyond its
    checkpoint and measures them anew. There is no history where there are fewer than two rows, or
    neither an `MLP` nor a batch norm.

    Args:
        valid: the split that the rows are drawn from.

    Attributes:
        history: what has been seen so far; None before the first moment.
    """

    def __init__(self, valid: Split) -> None:
        fitting = max(_FEWEST_ROWS, _NUMBERS // max(1, valid.images[0].size))
        rows = np.random.default_rng(0).permutation(len(valid))[: min(_MOST_ROWS, fitting)]
        self._images = torch.from_numpy(valid.images[np.sort(rows)])
        self._seen: list[History] = []

    @property
    def history(self) -> History | None:
        """What has been seen so far."""
        return joined(self._seen)

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Decide when to look."""
        self._steps_per_epoch = steps_per_epoch
        self._moments = set(moments(run.recipe.epochs * steps_per_epoch))

    def on_ready(self, view: _Start) -> None:
        """Look before the first step, or find what was seen before this one.

        Raises:
            RunFolderError: if the folder's history is damaged.
            StorageError: if the disk refuses.
        """
        self._folder = view.folder
        self._seen = kept_until(view.folder, view.steps) if view.folder else []
        images = self._images.to(next(view.network.parameters()).device)
        self._layers = layers_of(view.network, images) if len(images) > 1 else None
        if not self._seen or self._seen[-1].steps[-1] < view.steps:
            self._look(view.steps)

    def on_step(self, view: _Step) -> None:
        """Look, where this is a moment.

        Raises:
            StorageError: if the disk refuses.
        """
        self._look((view.epoch - 1) * self._steps_per_epoch + view.step)

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing: the epoch's last step has been seen."""

    def on_end(self, run: Run) -> None:
        """Nothing: all is on the disk."""

    def _look(self, steps: int) -> None:
        """Measure and keep, if `steps` is a moment and there is something to see."""
        if self._layers and steps in self._moments:
            rows, layers = len(self._images), tuple(self._layers())
            # A model of somebody's own may call other layers than before, which is no history.
            if not layers or any(len(seen.layers) != len(layers) for seen in self._seen[:1]):
                return
            moment = History(rows=rows, steps=(steps,), layers=layers)
            if self._folder:
                append(self._folder, moment)
            self._seen.append(moment)


def moments(total: int) -> list[int]:
    """When to look at a training of `total` steps: early often, later regularly, 40 times at most.

    Before the first step, then at 16 steps that grow by the same factor, of which the first is 1,
    until a 24th of the training is reached, then at every 24th of it.

    Example:
        >>> moments(8200)[:12], moments(8200)[-2:], len(moments(8200))
        ([0, 1, 2, 3, 5, 7, 10, 15, 22, 33, 49, 72], [7858, 8200], 39)
        >>> moments(3)
        [0, 1, 2, 3]
    """
    early = np.geomspace(1, max(1, total / _REGULAR), _EARLY)
    regular = np.linspace(0, total, _REGULAR + 1)
    return sorted({int(step) for step in np.concatenate([early, regular]).round()})


def layers_of(network: nn.Module, images: Inputs) -> Callable[[], list[LayerHistory]] | None:
    """What looks at every layer, as the network then is, while `images` pass through as one batch.

    None where there is nothing to see.

    Args:
        network: left as it was, at every look.
        images: at least two, on the network's device.
    """
    if layers := known_layers(network):
        flat = images.flatten(1)
        return lambda: [_seen(s.s1, s.s3) for s in stages(layers, flat, batch_statistics=True)]
    if norms := batch_norms_called(network, images):
        return lambda: look_through(network, norms, images, _seen)
    return None


def _seen(s1: Sums, s3: Sums) -> LayerHistory:
    """One layer at one moment."""
    return LayerHistory(
        unit=_UNIT,
        s1=(pooled(s1),),
        s3=(pooled(s3),),
        unit_s1=(pooled(s1[:, [_UNIT]]),),
        unit_s3=(pooled(s3[:, [_UNIT]]),),
    )
