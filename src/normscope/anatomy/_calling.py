"""Calling any model with whatever its loader gives."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from normscope._errors import InputError, NormscopeError, OwnModelError
from normscope._factories import told
from normscope.anatomy._wrappers import unwrapped

Forward = Callable[[nn.Module, Any], Any]
"""How a model is called with a batch: ``lambda model, batch: model(batch["x"], batch["mask"])``."""


def call(model: nn.Module, batch: Any) -> Any:
    """Call a model with a batch as most loaders give it.

    A tensor, or an object of any other kind, is what the model takes. Of a tuple or a list the
    first is: what follows are labels. Of a mapping, the model takes the entries that its `forward`
    has parameters for. Tensors are moved to where the model's first parameter or buffer is.

    Raises:
        InputError: if the batch is a NumPy array, an empty tuple, or a mapping in which nothing is
            that the model knows.

    Example:
        >>> call(nn.Flatten(), (torch.zeros(2, 3, 4), torch.tensor([0, 1]))).shape
        torch.Size([2, 12])
    """
    return _called(model, _moved(batch, _device(model)))


def _called(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, np.ndarray):
        msg = "A batch is a NumPy array; make it a tensor (torch.from_numpy), or pass forward=."
        raise InputError(msg)
    if isinstance(batch, tuple | list):
        if not batch:
            msg = "A batch is empty; pass forward= to say how the model is called with it."
            raise InputError(msg)
        return _called(model, batch[0])
    if isinstance(batch, Mapping):
        return model(**_accepted(model, batch))
    return model(batch)


def _accepted(model: nn.Module, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that the model's `forward` has parameters for.

    Raises:
        InputError: if there is none.
    """
    model = unwrapped(model)  # of what wraps it, the signature accepts everything
    parameters = inspect.signature(model.forward).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(batch)
    accepted = {name: value for name, value in batch.items() if name in parameters}
    if not accepted:
        msg = (
            f"A batch has {', '.join(map(str, batch))}, and {type(model).__name__} takes "
            f"{', '.join(parameters)}; pass forward=lambda model, batch: ... to call it."
        )
        raise InputError(msg)
    return accepted


def _device(model: nn.Module) -> torch.device | None:
    first = next(chain(model.parameters(), model.buffers()), None)
    return None if first is None else first.device


def _moved(batch: Any, device: torch.device | None) -> Any:
    if device is None:
        return batch
    return pytree.tree_map_only(Tensor, lambda tensor: tensor.to(device), batch)


@contextmanager
def own_errors(model: nn.Module, where: str, advice: str, forward: object = None) -> Iterator[None]:
    """Turn what somebody's model raises inside the block into one sentence.

    Args:
        model: that is called.
        where: on what: "on a batch".
        advice: what to do, as a sentence.
        forward: what calls it: its file is where the error is looked for.

    Raises:
        NormscopeError: one of ours, as it is.
        OwnModelError: naming what was raised, and in which line.

    Example:
        >>> with own_errors(nn.Flatten(), "on the example", "Look at it."):
        ...     raise ValueError("too flat")
        Traceback (most recent call last):
        ...
        normscope._errors.OwnModelError: Flatten: on the example the model raised ValueError: too
        flat. Look at it.
    """
    try:
        yield
    except NormscopeError:
        raise
    except Exception as problem:
        said = told(problem, forward or model.forward)
        msg = f"{type(model).__name__}: {where} the model raised {said}. {advice}"
        raise OwnModelError(msg) from problem


def batches_of(loader: Iterable[Any]) -> Iterable[Any]:
    """The batches of a loader, which can be gone through again and again.

    What can be gone through only once (a generator) is held in memory.

    Raises:
        InputError: if there are none, or `loader` is one batch.
    """
    _refuse_one_batch(loader)
    if iter(loader) is loader:
        loader = list(loader)
    for _ in first_batches(loader, 1):
        pass
    return loader


def first_batches(loader: Iterable[Any], count: int) -> Iterator[Any]:
    """The first batches of a loader, or all that it has; no more is asked of it.

    Raises:
        InputError: if there are none, or `loader` is one batch.

    Example:
        >>> list(first_batches(range(100), 3))
        [0, 1, 2]
    """
    _refuse_one_batch(loader)
    empty = True
    for batch in islice(loader, count):
        empty = False
        yield batch
    if empty:
        msg = "The loader has no batches."
        raise InputError(msg)


def _refuse_one_batch(loader: object) -> None:
    """A loader that is one batch, or its rows.

    Raises:
        InputError: always, for such a loader.
    """
    if isinstance(loader, Tensor | np.ndarray):
        msg = "The loader is an array; pass an iterable of batches, such as [batch]."
        raise InputError(msg)
    if isinstance(loader, Mapping):
        msg = "The loader is a mapping, which is one batch; pass an iterable of them: [batch]."
        raise InputError(msg)
    if isinstance(loader, tuple) and _is_inputs_and_labels(*loader[:3]):
        msg = "The loader is one batch, of inputs and labels; pass an iterable of them: [batch]."
        raise InputError(msg)


def _is_inputs_and_labels(*parts: object) -> bool:
    """Whether these are rows of numbers, and a whole number for each."""
    if len(parts) != 2 or not all(isinstance(part, Tensor) for part in parts):
        return False
    inputs, labels = parts
    assert isinstance(inputs, Tensor)
    assert isinstance(labels, Tensor)
    if inputs.ndim < 2 or labels.ndim != 1 or labels.is_floating_point():
        return False
    return inputs.is_floating_point() and len(inputs) == len(labels)
