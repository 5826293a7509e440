"""What probes see of a network before its first step: an observer of the training."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.anatomy import preserved
from normscope.data import Split
from normscope.probes import Moment, Probe, ProbeObserver, chosen, read_readings
from normscope.probes._batch_noise import BatchNoise
from normscope.probes._readings_file import append_readings
from normscope.records import EpochRecord, Run
from normscope.studies._readings_of import READINGS
from normscope.studies._seed_numbers import STAY, noise_rows
from normscope.training import Observer, StartView, StepView


def probes_of_explanations(valid: Split, every: int, batch_size: int) -> list[Observer]:
    """What looks on in a run whose readings predictions are about.

    Args:
        valid: the split that the rows are drawn from.
        every: steps between two moments.
        batch_size: of the training, whose noise is read.
    """
    names = dict.fromkeys(each.probe for each in READINGS.values() if each.when != "first")
    first = dict.fromkeys(each.probe for each in READINGS.values() if each.when == "first")
    later = [probe for name in names for probe in _made(name, batch_size)]
    return [ProbeObserver(valid, later, every), FirstLook(valid, chosen(list(first)))]


def _made(name: str, batch_size: int) -> list[Probe]:
    """The probe of a name; that of noise in batches as the training has, and in quarters."""
    rows = dict(zip(("batch-noise", "batch-noise-quarter"), noise_rows(batch_size), strict=True))
    if name in rows:
        return [BatchNoise(name, batch_size=rows[name], fixed=STAY)]
    return chosen([name])


class FirstLook:
    """Lets probes read once, before the first step, into the run folder's readings, as step 0.

    Args:
        valid: the split that the rows are drawn from, as `ProbeObserver` draws them.
        probes: such as ask for nothing but the network and its loss.
    """

    def __init__(self, valid: Split, probes: Sequence[Probe]) -> None:
        self._valid, self._probes = valid, probes

    def on_start(self, run: Run, steps_per_epoch: int) -> None:  # noqa: ARG002 - the protocol's
        """Draw the rows."""
        order = np.random.default_rng(0).permutation(len(self._valid))
        self._rows = np.sort(order[: max(2, run.recipe.batch_size)])

    def on_ready(self, view: StartView) -> None:
        """Look, unless the training goes on, or has been looked at in an earlier attempt.

        Raises:
            RunFolderError: if the folder's readings are damaged.
            StorageError: if the disk refuses.
        """
        assert view.folder, "runs of a study have folders"
        if view.steps or any(reading.step == 0 for reading in read_readings(view.folder)):
            return
        device = next(view.network.parameters()).device
        images = torch.from_numpy(self._valid.images[self._rows]).to(device)
        labels = torch.from_numpy(self._valid.labels[self._rows]).to(device)

        def loss(network: nn.Module) -> Tensor:
            return F.cross_entropy(network(images), labels)

        parameters = {name: p.detach().clone() for name, p in view.network.named_parameters()}
        moment = Moment(0, view.network, loss, parameters, {}, {})
        with preserved(view.network, values=True):
            append_readings(
                view.folder, [reading for each in self._probes for reading in each.read(moment)]
            )

    def on_step(self, view: StepView) -> None:
        """Nothing: it is no longer the first."""

    def on_epoch(self, record: EpochRecord) -> None:
        """Nothing."""

    def on_end(self, run: Run) -> None:
        """Nothing: every reading is on the disk."""
