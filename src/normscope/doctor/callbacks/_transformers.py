"""A callback for the trainer of Hugging Face's Transformers."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from normscope._errors import InputError
from normscope.doctor.callbacks._attached import Attached


def transformers_callback(suppress: Mapping[str, str] = MappingProxyType({})) -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])`` that watches the training.

    It begins and ends with the training. That trainer tells nobody when it raises: call `stop()`
    then. `diagnosis()` says what was found.

    Args:
        suppress: findings that are on purpose, as `normscope.watch` takes them.

    Raises:
        InputError: if Transformers is not installed.
    """
    try:
        base = importlib.import_module("transformers").TrainerCallback
    except ModuleNotFoundError:
        msg = "Transformers is not installed: pip install 'normscope[transformers]'"
        raise InputError(msg) from None

    class TransformersWatch(Attached, base):  # type: ignore[misc, valid-type]
        def on_train_begin(self, *_: Any, model: Any, optimizer: Any = None, **__: Any) -> None:
            self.start(model, None if optimizer is None else [optimizer])

        def on_train_end(self, *_: Any, **__: Any) -> None:
            self.stop()

    return TransformersWatch(suppress)
