"""The batch norms of a program: what torch.export or TorchScript made of a model."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node


@dataclass(frozen=True)
class ProgramNorm:
    """One call of a batch norm in a program.

    Attributes:
        name: of the module that it was, or of the node.
        always_by_batch: whether it normalizes by the batch's own statistics in every mode.
        eps: what is added to the variance; None where the program does not say.
        momentum: the weight of the new; None where the program does not say.
    """

    name: str
    always_by_batch: bool
    eps: float | None = None
    momentum: float | None = None


def program_norms(model: nn.Module) -> list[ProgramNorm] | None:
    """The batch norms of a program; None if the model is none.

    Example:
        >>> program_norms(nn.BatchNorm1d(3)) is None
        True
    """
    if isinstance(model, torch.jit.ScriptModule):
        return list(_of_script(model))
    if isinstance(model, GraphModule):
        found = [norm for node in model.graph.nodes for norm in _of_node(node)]
        # A graph of modules, as torch.fx traces it, has modes like any model.
        return found or None
    return None


def _of_node(node: Node) -> Iterator[ProgramNorm]:
    schema: Any = getattr(node.target, "_schema", None)
    if schema is None or "batch_norm" not in schema.name:
        return
    names = [argument.name for argument in schema.arguments]
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    training = given.get("training", given.get("train", "_with_update" in schema.name))
    stored = "running_mean" not in names or given.get("running_mean") is not None
    without = "no_stats" in schema.overload_name or not stored
    yield ProgramNorm(
        _name(node, given.get("running_mean")),
        bool(training) or without,
        given.get("eps", given.get("epsilon")),
        given.get("momentum"),
    )


def _name(node: Node, mean: object) -> str:
    """The path of the module whose running mean a node uses; else what the node is called."""
    stored = mean.target if isinstance(mean, Node) and mean.op == "get_attr" else ""
    return str(stored).rpartition(".")[0] or node.name


def _of_script(model: torch.jit.ScriptModule) -> Iterator[ProgramNorm]:
    """In TorchScript a mode is an attribute that eval() sets, or a constant if it was traced."""
    graph: Any = getattr(model, "inlined_graph", None)
    for node in [] if graph is None else graph.findAllNodes("aten::batch_norm"):
        _, _, _, mean, _, training, *_ = node.inputs()
        # Frozen statistics are constants as well, and there.
        without = mean.node().kind() == "prim::Constant" and mean.toIValue() is None
        yield ProgramNorm(node.output().debugName(), training.toIValue() is True or without)
