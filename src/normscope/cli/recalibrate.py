"""`normscope recalibrate TARGET`: running statistics that are those of the data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from normscope._errors import InputError
from normscope.cli._repairs import FORMAT, TARGET, Format, refuse_file, repair_of, tell
from normscope.cli.check import DATA, FORWARD

if TYPE_CHECKING:
    from torch import nn


def recalibrate(
    target: TARGET,
    *,
    data: DATA = None,
    forward: FORWARD = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the repaired state dict goes: a new .safetensors file. A run folder stays "
            "as it is.",
        ),
    ] = None,
    format: FORMAT = Format.TABLE,  # noqa: A002 - the option's name
) -> None:
    """Give every batch norm the exact statistics of the data, and say what that changes."""
    refuse_file(out, ".safetensors")
    from normscope.surgery import recalibrate as operate

    with repair_of("recalibrate", target, data, forward, format) as patient:
        receipt = operate(patient.model, patient.loader, forward=patient.forward)
        content = _state_dict(patient.model, target) if out else b""
    use = f'model.load_state_dict(safetensors.torch.load_file("{out}"))'
    tell(receipt, target, format, out, content, use)


def _state_dict(model: "nn.Module", name: str) -> bytes:
    """The model's state dict as a safetensors file; twins are written twice.

    Raises:
        InputError: if there is anything in it that is no tensor.
    """
    import torch
    from safetensors.torch import save

    state = model.state_dict()
    for key, value in state.items():
        if not isinstance(value, torch.Tensor):
            msg = (
                f"{name}: {key} in the state dict is of type {type(value).__name__}, and the file "
                "holds nothing but tensors. Repair it from Python: normscope.recalibrate(model, …)."
            )
            raise InputError(msg)
    return save({key: value.detach().cpu().clone().contiguous() for key, value in state.items()})
