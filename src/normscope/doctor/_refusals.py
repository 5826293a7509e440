"""What cannot be checked, refused before anything is looked at."""

from collections.abc import Iterable, Mapping

from torch import nn
from torch.optim import Optimizer

from normscope._errors import InputError
from normscope.anatomy import refuse_shards
from normscope.records import SEVERITIES


def refuse_no_model(model: object) -> None:
    """Refuse what is no module, or one whose parameters are elsewhere.

    Raises:
        InputError: naming what it is.
    """
    if isinstance(model, nn.Module):
        refuse_shards(model)
        return
    what = f"of type {type(model).__name__}"
    hint = "Pass the model itself, a torch.nn.Module."
    if isinstance(model, Mapping):
        hint = "A state dict says nothing of the model: build the model, and load it into that."
    msg = f"The model is {what}. {hint}"
    raise InputError(msg)


def refuse_no_loader(loader: object) -> None:
    """Refuse what cannot be gone through.

    Raises:
        InputError: naming what it is.
    """
    goes = isinstance(loader, Iterable) or hasattr(loader, "__getitem__")
    if loader is not None and not goes:
        msg = (
            f"The loader is of type {type(loader).__name__}; pass an iterable of batches: a "
            "DataLoader, or a list."
        )
        raise InputError(msg)


def refuse_no_optimizer(optimizer: object) -> None:
    """Refuse what has no parameter groups.

    Raises:
        InputError: naming what it is.
    """
    is_one = isinstance(optimizer, Optimizer) or hasattr(optimizer, "param_groups")
    if optimizer is not None and not is_one:
        msg = f"The optimizer is of type {type(optimizer).__name__}; pass a torch.optim.Optimizer."
        raise InputError(msg)


def refuse_no_reasons(suppress: object) -> None:
    """Refuse suppressions without reasons.

    Raises:
        InputError: naming what they are.
    """
    if not isinstance(suppress, Mapping):
        msg = (
            f"suppress is of type {type(suppress).__name__}; pass a dictionary with a reason for "
            'each: suppress={"NS501": "AdaBN"}.'
        )
        raise InputError(msg)


def refuse_no_severity(severity: object) -> None:
    """Refuse what is no severity.

    Raises:
        InputError: naming those that there are.
    """
    if severity not in SEVERITIES:
        msg = f"{severity!r} is no severity; there are {', '.join(SEVERITIES)}."
        raise InputError(msg)
