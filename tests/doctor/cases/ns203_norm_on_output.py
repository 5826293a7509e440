"""A regression that ends in a batch norm, and heads that do so by design."""

from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis


def head(*after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2), *after)


def bad_regression() -> Diagnosis:
    diagnosis = check(head(nn.BatchNorm1d(2)))
    assert diagnosis.of("NS203")[0].module == "4"
    return diagnosis


def good_regression() -> Diagnosis:
    return check(head())


def bad_before_softmax() -> Diagnosis:
    return check(head(nn.BatchNorm1d(2), nn.LogSoftmax(dim=1)))


def good_before_softmax() -> Diagnosis:
    return check(head(nn.LogSoftmax(dim=1)))


def silent_simsiam() -> Diagnosis:
    """Its projector ends in a norm without gamma and beta."""
    diagnosis = check(head(nn.BatchNorm1d(2, affine=False)))
    assert not diagnosis.of("NS203")
    return diagnosis


def silent_embedding() -> Diagnosis:
    """The norm that ends a face embedding: info, since nobody can tell."""
    return check(head(nn.BatchNorm1d(2), nn.Flatten()))
