"""Probes around the steps of one training, which goes on as if nobody looked."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from normscope._errors import InputError, StorageError
from normscope.anatomy import preserved, random_states_kept
from normscope.probes._moment import Moment, Parameters, Probe
from normscope.records import Reading

FAILED = "failed"
"""The quantity of a reading that was not made, because its probe raised."""


class Session:
    """Lets every probe read right after the steps at which it is due.

    Held between steps: nothing, but right before a due step a copy of the parameters. Whatever a
    probe does to the network is undone (`anatomy.preserved`, values too), and so are its draws
    from random states. A probe that raises costs nothing but its reading: a line of quantity
    ``failed`` stands in its place, its first failure is told in a `RuntimeWarning`, and it is asked
    again when it is next due. Where readings cannot be kept any more, nothing more is read.

    Args:
        network: that is trained.
        probes: each with its interval; one is due where the step's number is a multiple.
        loss: as a `Moment` has it; None where no probe asks for it.
        keep: is given the readings of every moment.

    Attributes:
        failures: by the name of a probe, why it failed first.
    """

    def __init__(
        self,
        network: nn.Module,
        probes: Sequence[tuple[Probe, int]],
        *,
        loss: Callable[[nn.Module], Tensor] | None,
        keep: Callable[[Sequence[Reading]], None],
    ) -> None:
        self._network, self._probes = network, probes
        self._loss, self._keep = loss or _no_loss, keep
        self._before: Parameters | None = None
        self._stopped = False
        self.failures: dict[str, str] = {}

    def is_due(self, step: int) -> bool:
        """Whether somebody reads after step `step`, counted from 1."""
        return not self._stopped and any(step % every == 0 for _, every in self._probes)

    def before(self, step: int) -> None:
        """The next step is number `step`: the parameters are copied, if it is due."""
        self._before = None
        if self.is_due(step):
            self._before = {
                name: parameter.detach().clone()
                for name, parameter in self._network.named_parameters()
            }

    def after(self, step: int, optimizers: Iterable[Optimizer], gradients: Parameters) -> None:
        """Step `step` was made: those who are due read.

        Args:
            step: counted from 1.
            optimizers: that made it.
            gradients: of the step, by the parameters' names.

        Raises:
            ExceptionGroup: a probe left something behind that could not be put back.
        """
        before, self._before = self._before, None
        if before is None or not self.is_due(step):
            return
        moment = Moment(
            step=step,
            network=self._network,
            loss=self._loss,
            before=before,
            gradients=gradients,
            rates=_rates(self._network, optimizers),
        )
        waiting = [probe for probe, every in self._probes if step % every == 0]
        readings: list[Reading] = []
        with random_states_kept():
            while waiting:
                readings += self._read_until_one_fails(waiting, moment)
        try:
            self._keep(readings)
        except StorageError as error:
            self._stopped = True
            _tell(f"From step {step} on nothing is read; the training goes on. {error}")

    def _read_until_one_fails(self, waiting: list[Probe], moment: Moment) -> list[Reading]:
        """What the first of `waiting` see, who leave it; one that failed leaves nothing to others.

        Raises:
            ExceptionGroup: something could not be put back.
        """
        readings: list[Reading] = []
        with preserved(self._network, values=True):
            while waiting:
                probe = waiting.pop(0)
                try:
                    readings += probe.read(moment)
                except Exception as error:
                    if _left_a_trace(error):
                        raise
                    self._note(probe, moment, error)
                    readings.append(Reading(step=moment.step, probe=probe.name, quantity=FAILED))
                    break
        return readings

    def _note(self, probe: Probe, moment: Moment, error: Exception) -> None:
        """Tell of a probe's first failure."""
        if probe.name not in self.failures:
            why = " ".join(f"{type(error).__name__}: {error}".split())
            self.failures[probe.name] = why
            _tell(f"The probe {probe.name} failed at step {moment.step} ({why}); training on.")


def gradients_of(network: nn.Module) -> dict[str, Tensor]:
    """The gradients that are there, by the parameters' names; not copies."""
    return {
        name: parameter.grad.detach()
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }


def _rates(network: nn.Module, optimizers: Iterable[Optimizer]) -> Mapping[str, float]:
    """The learning rate of every parameter that an optimizer holds."""
    rates = {
        id(parameter): group["lr"]
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    named = network.named_parameters()
    return {name: float(rates[id(p)]) for name, p in named if id(p) in rates}


def _left_a_trace(error: Exception) -> bool:
    """Whether `preserved` said that something could not be put back."""
    notes = [error, *(error.exceptions if isinstance(error, ExceptionGroup) else ())]
    return any(
        "could not be put back" in note for each in notes for note in getattr(each, "__notes__", ())
    )


def _tell(what: str) -> None:
    warnings.warn(what, RuntimeWarning, stacklevel=2)


def _no_loss(_: nn.Module) -> Tensor:
    """In place of the loss, where nobody said what it is.

    Raises:
        InputError: saying what to pass.
    """
    msg = "this needs loss=, a function of the model and the batch, and batch="
    raise InputError(msg)
