"""Lightning's Trainer on the network and the loader of the tutorials; logging switched off."""

import logging
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.steps._torch import network, set_up, tensors
from benchmarks.steps.task import LEARNING_RATE, Task
from benchmarks.worker import Pace


class Classifier(lightning.LightningModule):
    """The module that Lightning's first page has people write."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model = network(task, spare_biases=False)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        """The loss of a batch."""
        images, labels = batch
        return F.cross_entropy(self.model(images), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam with its defaults."""
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)


class Turns(Callback):
    """Waits for its turn after every step."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def on_train_batch_end(self, *_: object) -> None:
        """A step is done."""
        self._pace()


def run(pace: Pace, **job: Any) -> None:
    """Let the Trainer fit without end."""
    set_up()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    task = Task(**job)
    loader = DataLoader(TensorDataset(*tensors(task)), batch_size=task.batch, shuffle=True)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=-1,
        callbacks=[Turns(pace)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(task), loader)
