"""A callback for Lightning's trainer."""

import importlib
import sys
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from normscope._errors import InputError
from normscope.doctor.callbacks._attached import Attached

_NAMES = ("lightning.pytorch", "pytorch_lightning")


def lightning_callback(suppress: Mapping[str, str] = MappingProxyType({})) -> Any:
    """A callback for ``lightning.Trainer(callbacks=[...])`` that watches the training.

    It begins when the training does, after Lightning's sanity check, and ends with it, or when it
    raises. `diagnosis()` says what was found.

    Args:
        suppress: findings that are on purpose, as `normscope.watch` takes them.

    Raises:
        InputError: if Lightning is not installed.
    """
    base = _lightning().Callback

    class LightningWatch(Attached, base):  # type: ignore[misc, valid-type]
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            self.start(pl_module, list(trainer.optimizers))

        def on_train_end(self, *_: Any) -> None:
            self.stop()

        def on_exception(self, *_: Any) -> None:
            self.stop()

    return LightningWatch(suppress)


def _lightning() -> ModuleType:
    """The one of its two names that is imported already, or the first that is installed.

    Raises:
        InputError: if none is.
    """
    for name in sorted(_NAMES, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    msg = "Lightning is not installed: pip install 'normscope[lightning]'"
    raise InputError(msg)
