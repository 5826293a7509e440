"""Probes along `normscope.train`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from normscope._errors import InputError
from normscope.data import Split
from normscope.probes._chosen import chosen, intervals
from normscope.probes._moment import Probe
from normscope.probes._readings_file import readings_until
from normscope.probes._readings_kept import Kept, tensorboard_is_here
from normscope.probes._session import Session, gradients_of
from normscope.records import EpochRecord, Reading, Run


class _Start(Protocol):
    """What is known before the first step."""

    @property
    def steps(self) -> int: ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def folder(self) -> Path | None: ...


class _Step(Protocol):
    """What is known after a step."""

    @property
    def epoch(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def network(self) -> nn.Module: ...
    @property
    def optimizer(self) -> Optimizer: ...


class ProbeObserver:
    """Lets probes read while `train` trains; an observer of it.

    They look at the mean cross-entropy on validation rows, as many as a training batch has, drawn
    once by a generator of its own. Where the run has a folder, readings are in its
    ``readings.jsonl`` before the checkpoint that follows, and go to TensorBoard where that is
    installed. A training that is taken up again drops the readings beyond its checkpoint and makes
    them anew. What a probe that fails does: see `Session`.

    Args:
        valid: the split that the rows are drawn from.
        probes: names, ``"all"``, or objects of one's own.
        every: how many steps lie between two readings; by default each probe's own number.

    Raises:
        InputError: if there is no such probe, or there are fewer than two rows to look at.

    Attributes:
        readings: what has been read so far.
        failures: by the name of a probe, why it failed first.
    """

    def __init__(
        self, valid: Split, probes: Sequence[str | Probe] | str = "all", every: int | None = None
    ) -> None:
        if len(valid) < 2:
            msg = "Probes look at validation rows, of which there have to be two or more."
            raise InputError(msg)
        self._valid = valid
        self._probes = intervals(chosen(probes), every)
        self._kept = Kept(None, tensorboard=False)

    @property
    def readings(self) -> list[Reading]:
        """What has been read so far.

        Raises:
            RunFolderError: if the folder's file cannot be read any more.
        """
        return self._kept.readings

    @property
    def failures(self) -> dict[str, str]:
        """By the name of a probe, why it failed first."""
        return dict(self._session.failures)

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Draw the rows."""
        self._steps_per_epoch = steps_per_epoch
        order = np.random.default_rng(0).permutation(len(self._valid))
        self._rows = np.sort(order[: max(2, run.recipe.batch_size)])

    def on_ready(self, view: _Start) -> None:
        """Find what was read before, and copy the parameters if the first step is due.

        Raises:
            RunFolderError: if the folder's readings are damaged.
            StorageError: if the disk refuses.
        """
        device = next(view.network.parameters()).device
        images = torch.from_numpy(self._valid.images[self._rows]).to(device)
        labels = torch.from_numpy(self._valid.labels[self._rows]).to(device)

        def loss(network: nn.Module) -> Tensor:
            return F.cross_entropy(network(images), labels)

        before = readings_until(view.folder, view.steps) if view.folder else ()
        self._kept = Kept(view.folder, tensorboard=tensorboard_is_here(), before=before)
        self._kept.open()
        self._session = Session(view.network, self._probes, loss=loss, keep=self._kept.add)
        self._session.before(view.steps + 1)

    def on_step(self, view: _Step) -> None:
        """Read, where somebody is due, and copy the parameters if somebody will be."""
        step = (view.epoch - 1) * self._steps_per_epoch + view.step
        if self._session.is_due(step):
            self._session.after(step, [view.optimizer], gradients_of(view.network))
        self._session.before(step + 1)

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing: the epoch's last step has been seen."""

    def on_end(self, run: Run) -> None:  # noqa: ARG002 - the protocol's
        """Close the event file.

        Raises:
            StorageError: if the disk refuses.
        """
        self._kept.close()
