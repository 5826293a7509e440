"""Train networks with batch normalization, see what it does inside them, and repair it.

The door is lazy: but for the errors, a name is imported when it is first used, so that
``import normscope`` costs nothing and needs no torch.

Example:
    >>> import normscope as ns
    >>> ns.Recipe(norm="none").norm
    'none'
"""

import importlib
from typing import TYPE_CHECKING

from normscope._errors import BatchTooSmallError as BatchTooSmallError
from normscope._errors import DataError as DataError
from normscope._errors import DivergenceError as DivergenceError
from normscope._errors import InputError as InputError
from normscope._errors import IntegerTensorError as IntegerTensorError
from normscope._errors import NormscopeError as NormscopeError
from normscope._errors import OwnModelError as OwnModelError
from normscope._errors import RankError as RankError
from normscope._errors import RecipeError as RecipeError
from normscope._errors import RunFolderError as RunFolderError
from normscope._errors import StorageError as StorageError
from normscope._errors import StudyError as StudyError
from normscope._errors import TrainingInterruptedError as TrainingInterruptedError
from normscope._version import __version__ as __version__

if TYPE_CHECKING:
    from normscope.data import Dataset as Dataset
    from normscope.data import load as load_data
    from normscope.doctor import assert_healthy as assert_healthy
    from normscope.doctor import check as check
    from normscope.doctor import watch as watch
    from normscope.nn import MLP as MLP
    from normscope.nn import BatchNorm as BatchNorm
    from normscope.probes import observe as observe
    from normscope.records import Diagnosis as Diagnosis
    from normscope.records import EvidenceTable as EvidenceTable
    from normscope.records import Finding as Finding
    from normscope.records import Receipt as Receipt
    from normscope.records import Recipe as Recipe
    from normscope.records import Run as Run
    from normscope.records import Study as Study
    from normscope.studies import RunsFailedError as RunsFailedError
    from normscope.studies import WorkerError as WorkerError
    from normscope.studies import compare as compare
    from normscope.studies import explain as explain
    from normscope.studies import inspect_run as inspect
    from normscope.studies import train_many as train_many
    from normscope.surgery import copy_buffers as copy_buffers
    from normscope.surgery import exempt_norms as exempt_norms
    from normscope.surgery import fold as fold
    from normscope.surgery import freeze as freeze
    from normscope.surgery import parameter_groups as parameter_groups
    from normscope.surgery import recalibrate as recalibrate
    from normscope.surgery import remove_bias_before_norm as remove_bias_before_norm
    from normscope.surgery import set_momentum as set_momentum
    from normscope.surgery import unfreeze as unfreeze
    from normscope.training import load as load
    from normscope.training import predict_run as predict
    from normscope.training import resume as resume
    from normscope.training import test_run as test
    from normscope.training import train as train

_HOMES = {
    "Dataset": ("normscope.data", "Dataset"),
    "load_data": ("normscope.data", "load"),
    "MLP": ("normscope.nn", "MLP"),
    "BatchNorm": ("normscope.nn", "BatchNorm"),
    "Diagnosis": ("normscope.records", "Diagnosis"),
    "EvidenceTable": ("normscope.records", "EvidenceTable"),
    "Finding": ("normscope.records", "Finding"),
    "Receipt": ("normscope.records", "Receipt"),
    "Recipe": ("normscope.records", "Recipe"),
    "Run": ("normscope.records", "Run"),
    "Study": ("normscope.records", "Study"),
    "assert_healthy": ("normscope.doctor", "assert_healthy"),
    "check": ("normscope.doctor", "check"),
    "compare": ("normscope.studies", "compare"),
    "copy_buffers": ("normscope.surgery", "copy_buffers"),
    "exempt_norms": ("normscope.surgery", "exempt_norms"),
    "explain": ("normscope.studies", "explain"),
    "fold": ("normscope.surgery", "fold"),
    "freeze": ("normscope.surgery", "freeze"),
    "inspect": ("normscope.studies", "inspect_run"),
    "load": ("normscope.training", "load"),
    "observe": ("normscope.probes", "observe"),
    "parameter_groups": ("normscope.surgery", "parameter_groups"),
    "predict": ("normscope.training", "predict_run"),
    "recalibrate": ("normscope.surgery", "recalibrate"),
    "remove_bias_before_norm": ("normscope.surgery", "remove_bias_before_norm"),
    "resume": ("normscope.training", "resume"),
    "set_momentum": ("normscope.surgery", "set_momentum"),
    "test": ("normscope.training", "test_run"),
    "train": ("normscope.training", "train"),
    "train_many": ("normscope.studies", "train_many"),
    "unfreeze": ("normscope.surgery", "unfreeze"),
    "watch": ("normscope.doctor", "watch"),
    "RunsFailedError": ("normscope.studies", "RunsFailedError"),
    "WorkerError": ("normscope.studies", "WorkerError"),
}

__all__ = [
    "MLP",
    "BatchNorm",
    "BatchTooSmallError",
    "DataError",
    "Dataset",
    "Diagnosis",
    "DivergenceError",
    "EvidenceTable",
    "Finding",
    "InputError",
    "IntegerTensorError",
    "NormscopeError",
    "OwnModelError",
    "RankError",
    "Receipt",
    "Recipe",
    "RecipeError",
    "Run",
    "RunFolderError",
    "RunsFailedError",
    "StorageError",
    "Study",
    "StudyError",
    "TrainingInterruptedError",
    "WorkerError",
    "__version__",
    "assert_healthy",
    "check",
    "compare",
    "copy_buffers",
    "exempt_norms",
    "explain",
    "fold",
    "freeze",
    "inspect",
    "load",
    "load_data",
    "observe",
    "parameter_groups",
    "predict",
    "recalibrate",
    "remove_bias_before_norm",
    "resume",
    "set_momentum",
    "test",
    "train",
    "train_many",
    "unfreeze",
    "watch",
]


def __dir__() -> list[str]:
    """The public names, for whoever presses the tab key."""
    return __all__


def __getattr__(name: str) -> object:
    """Import a public name from its room, and keep it.

    Raises:
        AttributeError: if there is no such name.
    """
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}"
        raise AttributeError(msg)
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value
