"""Everything that changes while a network trains, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from normscope.nn import CalibratedNorm, has_running_statistics
from normscope.records import EpochRecord


@dataclass
class TrainingState:
    """A training that can be put down and taken up again at any step.

    Attributes:
        network: on the device that it trains on.
        optimizer: Adam, its moments.
        losses: ``[steps per epoch]``, the unfinished epoch's losses so far, on the device.
        correct: scalar, how many rows of the unfinished epoch were right, on the device.
        epochs: the finished epochs.
        step: steps done in the unfinished epoch.
        seconds: wall time spent in the unfinished epoch.
    """

    network: nn.Module
    optimizer: torch.optim.Adam
    losses: Tensor
    correct: Tensor
    epochs: list[EpochRecord] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def fresh(
        cls, network: nn.Module, optimizer: torch.optim.Adam, *, steps: int, device: torch.device
    ) -> "TrainingState":
        """The state before the first step of a training with `steps` steps per epoch."""
        return cls(
            network,
            optimizer,
            losses=torch.zeros(steps, device=device),
            correct=torch.zeros((), dtype=torch.int64, device=device),
        )

    @property
    def epoch(self) -> int:
        """The epoch under way, counted from 1."""
        return len(self.epochs) + 1

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training set; the rest of each epoch's order is left out."""
        return len(self.losses)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Weights, norms' buffers and Adam's moments: what has to be finite to be saved."""
        yield from self.network.named_parameters()
        for path, module in self.network.named_modules():
            if has_running_statistics(module) or isinstance(module, CalibratedNorm):
                yield from ((f"{path}.{name}", buffer) for name, buffer in module.named_buffers())
        for name, parameter in self.network.named_parameters():
            for slot, value in self.optimizer.state[parameter].items():
                yield f"Adam's {slot} of {name}", value

    def let_go_of_optimizer(self) -> None:
        """Free Adam's moments and the gradients, which nobody needs after the last step."""
        self.optimizer.state.clear()
        for parameter in self.network.parameters():
            parameter.grad = None

    def close_epoch(self, record: EpochRecord) -> None:
        """Keep a finished epoch's record and begin the next."""
        self.epochs.append(record)
        self.losses.zero_()
        self.correct.zero_()
        self.step = 0
        self.seconds = 0.0
