"""`normscope fold TARGET`: the same answers without batch norms."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from normscope._errors import InputError
from normscope.cli._repairs import FORMAT, TARGET, Format, refuse_file, repair_of, tell
from normscope.cli.check import DATA, FORWARD

if TYPE_CHECKING:
    from torch import nn

    from normscope.anatomy import Forward


def fold(
    target: TARGET,
    *,
    data: DATA = None,
    forward: FORWARD = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the folded model goes: a new .pt2 file of torch.export."
        ),
    ] = None,
    format: FORMAT = Format.TABLE,  # noqa: A002 - the option's name
) -> None:
    """Fold batch norms into the layers before them; the first batch is what both are tried on."""
    refuse_file(out, ".pt2")
    from normscope.surgery import fold as operate

    with repair_of("fold", target, data, forward, format, most=1) as patient:
        model = patient.model.eval()
        example = _example(model, next(iter(patient.loader), None), patient.forward)
        folded, receipt = operate(model, example)
        content = _program(folded, example, target) if out else b""
    tell(receipt, target, format, out, content, f'torch.export.load("{out}").module()')


class _Given(Exception):  # noqa: N818 - no error: the model need not go on
    """What a model was called with."""

    def __init__(self, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        super().__init__()
        self.arguments, self.named = arguments, named


def _example(model: "nn.Module", batch: Any, forward: "Forward") -> Any:
    """What the model is called with for a batch: a tuple of arguments, or named ones.

    Raises:
        InputError: if there is no batch, or the model is called in another way.
    """
    if batch is None:
        msg = "The loader has no batches."
        raise InputError(msg)

    def note(_: "nn.Module", arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _Given(arguments, named)

    from normscope._factories import told

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        forward(model, batch)
    except _Given as given:
        if not (given.arguments and given.named):
            return given.named or given.arguments
    except Exception as problem:
        if isinstance(problem, InputError):
            raise
        msg = f"{type(model).__name__}: calling it raised {told(problem, forward)}."
        raise InputError(msg) from problem
    finally:
        handle.remove()
    msg = f"fold needs a forward that calls {type(model).__name__} with arguments of one kind."
    raise InputError(msg)


def _program(folded: "nn.Module", example: Any, name: str) -> bytes:
    """The folded model as a file of `torch.export`, for batches of any size.

    Raises:
        InputError: if torch cannot export it.
    """
    import io

    import torch

    from normscope._factories import told

    arguments, named = (example, {}) if isinstance(example, tuple) else ((), dict(example))
    try:
        program = torch.export.export(
            folded.eval(), arguments, named, dynamic_shapes=_any_number_of_rows(arguments, named)
        )
        program.example_inputs = None  # somebody's data, and the whole storage behind a slice
        file = io.BytesIO()
        torch.export.save(program, file)
    except Exception as problem:
        msg = (
            f"{name}: it can be folded, but torch.export could not write it; it raised "
            f"{told(problem)}. From Python: folded, receipt = normscope.fold(model, example)."
        )
        raise InputError(msg) from problem
    return file.getvalue()


def _any_number_of_rows(arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """For `torch.export`: the first axis of every tensor may be of another size."""
    import torch
    from torch.utils import _pytree as pytree

    def axes(leaf: Any) -> Any:
        return {0: torch.export.Dim.AUTO} if isinstance(leaf, torch.Tensor) and leaf.ndim else None

    shapes = [pytree.tree_map(axes, argument) for argument in arguments]
    return tuple(shapes) or {key: pytree.tree_map(axes, value) for key, value in named.items()}
