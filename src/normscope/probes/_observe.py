"""`observe`: what probes read in a training loop of one's own."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils import _pytree as pytree

from normscope._errors import InputError
from normscope.anatomy import optimizers_of, unwrapped
from normscope.probes._chosen import chosen, intervals
from normscope.probes._moment import Probe
from normscope.probes._readings_file import holds_readings
from normscope.probes._readings_kept import Kept, tensorboard_is_here
from normscope.probes._rounds import Rounds
from normscope.probes._session import Session, gradients_of
from normscope.records import Reading

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle


def observe(
    model: nn.Module,
    probes: Sequence[str | Probe] | str = "all",
    every: int | None = None,
    *,
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    batch: Any = None,
    out: str | Path | None = None,
    tensorboard: bool = False,
) -> "Observation":
    """Let probes read, every so many steps of a training loop of one's own.

    The training ends in the same bits as without.

    Args:
        model: any; the one that the loop trains.
        probes: their names, objects of one's own, or ``"all"``; without `loss`, ``"all"`` are those
            that do without.
        every: how many steps lie between two readings; by default each probe's own number.
        optimizer: of the training, or several that make a step together. Without, every optimizer
            of torch counts that holds a parameter of the model.
        loss: the mean loss of the model that it is given on a batch.
        batch: the one that probes pass to `loss`, the same at every moment; its tensors are copied.
        out: a new folder, or one without readings, for ``readings.jsonl``.
        tensorboard: whether to write to ``out/tensorboard`` as well.

    Returns:
        A context manager with `readings`, which can be asked inside the block and after it.

    Raises:
        InputError: if there is no such probe, if one needs the loss and there is none, or if an
            argument is something else.

    Example:
        >>> class Length:
        ...     name, every, needs_loss = "length", 1, False
        ...     def read(self, moment):
        ...         length = float(moment.after["weight"].norm())
        ...         return [Reading(step=moment.step, probe=self.name, quantity="w", value=length)]
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with observe(model, [Length()], every=2) as seen:
        ...     for batch in torch.randn(6, 8, 2):
        ...         model(batch).sum().backward()
        ...         optimizer.step()
        >>> [reading.step for reading in seen.readings]
        [2, 4, 6]
    """
    network = _network(model)
    wanted = _with_or_without_loss(probes, loss, batch)
    fixed = pytree.tree_map_only(Tensor, lambda t: t.detach().clone(), batch)
    kept = Kept(_folder(out, tensorboard=tensorboard), tensorboard=tensorboard)
    session = Session(
        network,
        intervals(wanted, every),
        loss=None if loss is None else lambda network: loss(network, fixed),
        keep=kept.add,
    )
    return Observation(network, session, Rounds(network, list(optimizers_of(optimizer))), kept)


class Observation:
    """A training loop in which probes read; `normscope.observe` makes one.

    It can be entered again after it was left, and then goes on where it was.
    """

    def __init__(self, network: nn.Module, session: Session, rounds: Rounds, kept: Kept) -> None:
        self._network, self._session, self._rounds, self._kept = network, session, rounds, kept
        self._handles: list[RemovableHandle] = []
        self._gradients: dict[str, Tensor] = {}

    @property
    def readings(self) -> list[Reading]:
        """All so far, from the folder if there is one.

        Raises:
            RunFolderError: if the folder's file cannot be read any more.
        """
        return self._kept.readings

    @property
    def steps(self) -> int:
        """How many steps were counted."""
        return self._rounds.steps

    @property
    def failures(self) -> dict[str, str]:
        """By the name of a probe, why it failed first; empty where none did."""
        return dict(self._session.failures)

    def __enter__(self) -> Self:
        """Begin to look.

        Raises:
            InputError: if it is looking already.
            StorageError: if the disk refuses.
        """
        if self._handles:
            msg = "This observation is in use; make another with normscope.observe."
            raise InputError(msg)
        self._kept.open()
        self._handles = [
            register_optimizer_step_pre_hook(self._before),
            register_optimizer_step_post_hook(self._after),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._gradients = [], {}
        self._kept.close()

    def _before(self, optimizer: Optimizer, *_: Any) -> None:
        if torch.compiler.is_compiling() or not self._rounds.counts(optimizer):
            return
        if self._rounds.begins(optimizer):
            self._gradients = {}
            self._session.before(self._rounds.steps + 1)

    def _after(self, optimizer: Optimizer, *_: Any) -> None:
        if torch.compiler.is_compiling() or not self._rounds.counts(optimizer):
            return
        step = self._rounds.steps + 1
        over, due = self._rounds.ends(optimizer), self._session.is_due(step)
        if over and due and not _was_skipped(optimizer):
            gradients = gradients_of(self._network) | self._gradients
            self._session.after(step, self._rounds.optimizers, gradients)
        elif due:  # those that this one used may be gone when the step is over
            held = {id(p) for group in optimizer.param_groups for p in group["params"]}
            own = [name for name, p in self._network.named_parameters() if id(p) in held]
            there = gradients_of(self._network)
            self._gradients |= {name: there[name].clone() for name in own if name in there}


def _network(model: object) -> nn.Module:
    """What is trained, without what torch put around it.

    Raises:
        InputError: if it is no module.
    """
    if not isinstance(model, nn.Module):
        msg = f"model is of type {type(model).__name__}; pass a torch.nn.Module."
        raise InputError(msg)
    return unwrapped(model)


def _with_or_without_loss(
    probes: Sequence[str | Probe] | str, loss: object, batch: object
) -> list[Probe]:
    """The probes that are meant and that can read.

    Raises:
        InputError: naming those that cannot.
    """
    if (loss is None) != (batch is None):
        msg = "loss and batch go together: loss=lambda model, batch: … and batch=…, or neither."
        raise InputError(msg)
    wanted = chosen(probes)
    if loss is not None:
        return wanted
    able = [probe for probe in wanted if not probe.needs_loss]
    if len(able) < len(wanted) and probes != "all":
        names = ", ".join(probe.name for probe in wanted if probe.needs_loss)
        msg = f"{names}: needs a loss to look at; pass loss=lambda model, batch: … and batch=…"
        raise InputError(msg)
    return able


def _folder(out: str | Path | None, *, tensorboard: bool) -> Path | None:
    """Where readings are written.

    Raises:
        InputError: if there are others already, or TensorBoard is asked for and cannot write.
    """
    if tensorboard and out is None:
        msg = "tensorboard=True writes below a folder; name one, out=…"
        raise InputError(msg)
    if tensorboard and not tensorboard_is_here():
        msg = "TensorBoard is not installed: pip install 'normscope[tensorboard]'"
        raise InputError(msg)
    if out is not None and holds_readings(Path(out)):
        msg = f"{out}: this folder holds readings already. Choose another, or delete them first."
        raise InputError(msg)
    return None if out is None else Path(out)


def _was_skipped(optimizer: Optimizer) -> bool:
    """Whether a fused step found gradients that are not finite, and changed nothing.

    Elsewhere `torch.amp.GradScaler` does not call ``step`` then.
    """
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)
