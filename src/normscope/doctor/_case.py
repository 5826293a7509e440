"""What a rule is given to look at: each fact worked out once, when the first rule asks for it."""

from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from torch import nn
from torch.optim import Optimizer

from normscope._errors import InputError, OwnModelError
from normscope.anatomy import CallGraph, RunningNorm, preserved, running_norms, unwrapped
from normscope.doctor._counted import counted
from normscope.doctor._exported import program_norms
from normscope.doctor._program import NO_GRAPH, Program, programs_within
from normscope.doctor._ways import graphs_of_parts
from normscope.records import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from normscope.doctor._loop_log import LoopLog
    from normscope.doctor._observation import Observation


T = TypeVar("T")


class UnknownError(Exception):
    """A rule asked for something that this check has not: the rule is listed as skipped."""


class Case:
    """A model, and what is known of it.

    Args:
        model: any, perhaps with something wrapped around it; nobody changes it.
        observe: looks at the model at work on its data; absent where there are none.
        loader: where the data come from: for its settings, not to be gone through.
        optimizer: of its training, if there is one.
        log: what was seen of a training loop, if anybody watched one.
        program: what was handed over, where `model` is how it is shown.

    Attributes:
        model: without what is wrapped around it.
        wrapper: what was handed over: the same, or a `DistributedDataParallel` around it.
        program: the saved program that the model shows; None if it is a model like others.
        training: whether a module was in training mode when the check began, by its path; to
            look at the model at work puts it into eval mode.
        failure: what the model raised on its data, if it did.
        replicas: over how many devices a `DataParallel` splits every batch; to look at the model
            at work uses one.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        observe: "Callable[[Case], Observation] | None" = None,
        loader: Iterable[Any] | None = None,
        optimizer: Optimizer | None = None,
        log: "LoopLog | None" = None,
        program: nn.Module | None = None,
    ) -> None:
        self.wrapper = model
        self.program = program
        self.model = unwrapped(model)
        self.loader = loader
        self.training: dict[str, bool] = {
            path: module.training for path, module in self.model.named_modules()
        }
        splits = [m.device_ids for m in model.modules() if isinstance(m, nn.DataParallel)]
        self.replicas = max([1, *map(len, splits)])
        self._observe = observe
        self._optimizer = optimizer
        self._log = log
        self._done: dict[Any, Any] = {}
        self._observation: Observation | None = None
        self.failure: OwnModelError | None = None
        self._why_not = ""

    @cached_property
    def norms(self) -> dict[str, RunningNorm]:
        """Every module that keeps running statistics, or could, by its path."""
        return running_norms(self.model)

    @cached_property
    def batch_norms(self) -> dict[str, RunningNorm]:
        """Those that are torch's batch norms, or subclasses, by their path."""
        return {path: norm for path, norm in self.norms.items() if norm.is_batch_norm}

    @property
    def graph(self) -> CallGraph:
        """What goes where.

        Raises:
            UnknownError: if torch.fx cannot follow the model, or it is a saved program.
        """
        if "" not in self._followed:
            raise UnknownError(self._why_not)
        return self._followed[""]

    @property
    def parts(self) -> dict[str, CallGraph]:
        """What goes where in the model (path ``""``) or, failing that, in its largest parts.

        Those are the modules with norm layers inside that torch.fx can follow, by their path.

        Raises:
            UnknownError: if there is none.
        """
        if not self._followed:
            raise UnknownError(self._why_not)
        return self._followed

    @cached_property
    def _followed(self) -> dict[str, CallGraph]:
        """The model's call graph, or those of its parts; if not the model's, `_why_not` tells.

        Traced in the modes in which the model was handed over, whether it was looked at or not.
        """
        if self.program is not None:
            self._why_not = NO_GRAPH
            return {}
        with preserved(self.model, values=True):
            for path, module in self.model.named_modules():
                module.training = self.training.get(path, module.training)
            try:
                return {"": CallGraph.of(self.model)}
            except InputError as error:
                self._why_not = str(error)
                return graphs_of_parts(self.model)

    @property
    def has_data(self) -> bool:
        """Whether there are data, and the model can be called with them."""
        if self._observe is None:
            return False
        with suppress(UnknownError):
            return self.answers is not None
        return False

    @property
    def observation(self) -> "Observation":
        """What the model does with its data, and what its batch norms are given.

        Raises:
            UnknownError: if there are none, the model raised on them, or it is a saved program
                whose batch norms nobody can look at.
        """
        observation = self.answers
        if isinstance(self.model, Program) and not self.model.is_seen:
            raise UnknownError(self.model.told())
        return observation

    @property
    def answers(self) -> "Observation":
        """What the model does with its data, for who asks for its answers only.

        Raises:
            UnknownError: if there are none, or the model raised on them.
        """
        if self._observe is None:
            msg = "needs data: pass a loader"
            raise UnknownError(msg)
        if self.failure is not None:
            msg = f"needs a model that can be called. {self.failure}"
            raise UnknownError(msg)
        if self._observation is None:
            self._observation = self._observed(self._observe)
        return self._observation

    def _observed(self, observe: "Callable[[Case], Observation]") -> "Observation":
        """Observe; that the model raises is a fact like others.

        Raises:
            UnknownError: if it did.
        """
        try:
            return observe(self)
        except OwnModelError as failure:
            self.failure = failure
            raise UnknownError(str(failure)) from failure

    def once(self, work: "Callable[[Case], T]") -> T:
        """What `work` makes of this case, worked out when it is first asked for."""
        if work not in self._done:
            self._done[work] = work(self)
        result: T = self._done[work]
        return result

    @property
    def conditions(self) -> dict[str, Evidence]:
        """What the check had to go by."""
        norms = program_norms(self.program) if self.program is not None else None
        count = len(self.batch_norms) or len(norms or [])
        conditions: dict[str, Evidence] = {"batch norms": count}
        if self._observation is not None:
            seen = self._observation
            conditions |= {
                "batches": len(seen.batches),
                "rows": seen.rows,
                "all batches": "yes" if seen.complete else "no",
            }
        return conditions

    @property
    def notes(self) -> tuple[str, ...]:
        """What was passed and could not be used, and what nobody could look at."""
        notes = [] if self._observation is None else list(self._observation.notes())
        if isinstance(self.model, Program):
            notes += [f"Not looked at: {told}." for told in [self.model.told()] if told]
        else:
            notes += [
                f"{path!r} is a saved program in the model, with {counted(count)} that nobody can "
                "look at: check it by itself, or the module that it was made from."
                for path, count in programs_within(self.model).items()
            ]
        return tuple(notes)

    @property
    def has_optimizer(self) -> bool:
        """Whether the optimizer of the training is known."""
        return self._optimizer is not None

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer.

        Raises:
            UnknownError: if there is none.
        """
        if self._optimizer is None:
            msg = "needs the optimizer: pass optimizer="
            raise UnknownError(msg)
        return self._optimizer

    @property
    def has_log(self) -> bool:
        """Whether somebody watched a training loop."""
        return self._log is not None

    @property
    def log(self) -> "LoopLog":
        """What was seen of the training loop.

        Raises:
            UnknownError: if nobody watched one.
        """
        if self._log is None:
            msg = "needs a training loop: with normscope.watch(model) as watch: ..."
            raise UnknownError(msg)
        return self._log
