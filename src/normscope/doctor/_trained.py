"""Which batch norms take part in training."""

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case


def trained_batch_norms(case: Case) -> dict[str, RunningNorm]:
    """The batch norms that a training step normalizes by the batch, by their path.

    Of a model in training mode those that are in training mode themselves; of a model in eval mode
    those that have not been frozen, as far as that can be told: a parameter of theirs, or of the
    model where they have none, asks for a gradient.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3).eval())
        >>> list(trained_batch_norms(Case(model)))
        ['1']
    """
    return {path: norm for path, norm in case.batch_norms.items() if _is_trained(case, norm)}


def in_training(case: Case) -> bool:
    """Whether the model was handed over in training mode, or with its optimizer."""
    return case.training[""] or case.has_optimizer


def _is_trained(case: Case, norm: RunningNorm) -> bool:
    if case.training[""]:
        return case.training[norm.path]
    parameters = list(norm.module.parameters()) or list(case.model.parameters())
    return any(parameter.requires_grad for parameter in parameters)
