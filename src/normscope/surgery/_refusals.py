"""What no operation can be done on."""

from collections.abc import Iterable

from torch import nn

from normscope._errors import InputError
from normscope.anatomy import refuse_shards


def refuse_no_model(operation: str, model: object) -> None:
    """Refuse what is no module, or one whose parameters are elsewhere.

    Raises:
        InputError: naming what it is.
    """
    if not isinstance(model, nn.Module):
        msg = f"{operation}: the model is of type {type(model).__name__}; pass a torch.nn.Module."
        raise InputError(msg)
    refuse_shards(model)


def refuse_no_loader(operation: str, loader: object) -> None:
    """Refuse what cannot be gone through.

    Raises:
        InputError: naming what it is.
    """
    if not isinstance(loader, Iterable) and not hasattr(loader, "__getitem__"):
        msg = (
            f"{operation}: the loader is of type {type(loader).__name__}; pass an iterable of "
            "batches: a DataLoader, or a list."
        )
        raise InputError(msg)
