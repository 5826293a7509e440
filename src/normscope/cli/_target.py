"""What a command is pointed at: a model, its data, and how it is called."""

import math
import os
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from normscope._errors import InputError, NormscopeError, OwnModelError
from normscope._factories import Function, called, imported, named, names_a_function, told
from normscope.anatomy import Forward, call
from normscope.cli._console import Work
from normscope.data import Dataset
from normscope.records import Run

_BATCH_SIZE = 64
"""Rows per batch, of a data set that comes without a recipe."""


@dataclass(frozen=True)
class Target:
    """A model, and where it is from.

    Attributes:
        name: what the person typed.
        model: it.
        built_by: the function that built it, if one did.
        run: the record of the run that it is of, if it is.
        is_program: whether it is a saved program, which cannot be changed.
    """

    name: str
    model: nn.Module
    built_by: Function | None = None
    run: Run | None = None
    is_program: bool = False


def target_of(text: str) -> Target:
    """The model that `text` stands for.

    Args:
        text: ``package.module:factory``, a run folder, or the file of a saved program.

    Raises:
        InputError: if it stands for none.
    """
    path = Path(text)
    if path.is_dir() or path.name == "run.json":
        return _of_run(text, path if path.is_dir() else path.parent)
    if path.is_file():
        return Target(text, _program(path), is_program=True)
    if names_a_function(text) and ".py:" not in text:
        return _built(text)
    msg = f"{text}: there is no such run folder or file; {_hint(text)}."
    raise InputError(msg)


def _hint(text: str) -> str:
    """How a function is named."""
    module, colon, function = text.removesuffix("/").partition(":")
    dotted = module.removesuffix(".py").strip("./").replace("/", ".")
    if not colon:
        dotted, _, function = dotted.rpartition(".")
    near = f"{dotted}:{function}"
    if ".py" in text and colon and names_a_function(near):
        return f"a function is named with dots: {near}"
    if not colon and not text.endswith(".py") and "/" not in text and names_a_function(near):
        return f"a function is named with a colon: {near}"
    return "a function that builds the model is named package.module:function"


def _of_run(text: str, folder: Path) -> Target:
    from normscope.training import load

    return Target(text, load(folder), run=Run.load(folder))


def _built(name: str) -> Target:
    """What a function of somebody's returns, or the module that is there already.

    Raises:
        InputError: if it raises, or is no module.
    """
    function = imported(name, error=InputError)
    if isinstance(function, nn.Module):
        return Target(name, function)
    model = called(function, {}, name=name, error=InputError)
    if not isinstance(model, nn.Module):
        msg = (
            f"{name} returned something of type {type(model).__name__}; it has to return a "
            "torch.nn.Module."
        )
        raise InputError(msg)
    return Target(name, model, built_by=function)


# --- saved programs ---

_PICKLE = (
    "this is a pickle: reading a module from it would execute its code, and a state dict holds "
    "weights without a model. Name a function that builds the model and loads its weights: "
    "package.module:function"
)


def _program(path: Path) -> nn.Module:
    """What `torch.export.save` or `torch.jit.save` wrote.

    Raises:
        InputError: if the file holds anything else, or is damaged.
    """
    kind = _kind(path)
    if kind not in {"exported", "scripted"}:
        msg = f"{path}: {kind}."
        raise InputError(msg)
    try:
        with warnings.catch_warnings(), _no_code_in_pickles():
            warnings.simplefilter("ignore")  # that one format takes the place of the other
            if kind == "exported":
                return torch.export.load(path).module()
            program: nn.Module = torch.jit.load(path, map_location="cpu")
            return program
    except Exception as problem:
        msg = f"{path}: torch could not read this program; it raised {told(problem)}."
        raise InputError(msg) from problem


def _kind(path: Path) -> str:
    """``"exported"``, ``"scripted"``, or why a file cannot be used."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] for name in archive.namelist()}
        if "archive_format" in names:
            return "exported"
        if "constants.pkl" in names or any(name.startswith("code/") for name in names):
            return "scripted"
        return _PICKLE if "data.pkl" in names else _UNKNOWN
    with path.open("rb") as file:
        head = file.read(9)
    if path.suffix == ".safetensors" or head[8:] == b"{":
        return (
            "this is a state dict: weights without a model. Name a function that builds the model "
            "and loads them: package.module:function"
        )
    return _PICKLE if head[:1] == b"\x80" else _UNKNOWN


_UNKNOWN = (
    "this is neither a program of torch.export (.pt2) nor one of TorchScript. Name a function that "
    "builds the model: package.module:function"
)


@contextmanager
def _no_code_in_pickles() -> Iterator[None]:
    """A program may hold pickles, of which torch reads tensors only inside the block."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def refuse_program(target: Target, operation: str) -> None:
    """Refuse to change a saved program.

    Raises:
        InputError: naming it.
    """
    if target.is_program:
        msg = (
            f"{target.name}: {operation} changes modules, and this is a saved program. Name the "
            "function that builds the model: package.module:function."
        )
        raise InputError(msg)


# --- data, forward, optimizer ---


def _function(option: str, name: str) -> Function:
    """The function that an option names.

    Raises:
        InputError: if there is none.
    """
    if not names_a_function(name):
        msg = f"{option} {name}: name a function, as package.module:function."
        raise InputError(msg)
    return imported(name, error=InputError)


_NO_BATCHES = (torch.utils.data.Dataset, nn.Module, torch.Tensor, Mapping, str, bytes)
"""What can be gone through, and not batch by batch."""


def loader_of(target: Target, data: str | None, *, most: int | None = None) -> Iterable[Any] | None:
    """The batches that the model is looked at on; None where there are none.

    Args:
        target: whose data are meant where `data` is none: those that a run was trained on.
        data: ``package.module:function``, which returns batches, or the name of what holds them;
            or, of a run, where its data are now.
        most: how many batches are needed, of what can be gone through only once.

    Raises:
        InputError: if they cannot be used.
    """
    if data is None and target.run is None:
        return None
    if data is None or not names_a_function(data):
        return _of_dataset(_trained_on(target, data), target.run)
    made, seen = named(data, error=InputError), "is"
    if callable(made) and not isinstance(made, nn.Module):
        made, seen = called(made, {}, name=data, error=InputError), "returned something"
    if isinstance(made, Dataset):
        return _of_dataset(made, target.run)
    if isinstance(made, _NO_BATCHES) or not isinstance(made, Iterable):
        msg = (
            f"{data} {seen} of type {type(made).__name__}; name a function that returns batches, "
            "or these: a DataLoader, or a list."
        )
        raise InputError(msg)
    return _Loader(made, data, most)


def _trained_on(target: Target, data: str | None) -> Dataset:
    """The data set that a run was trained on.

    Raises:
        InputError: if there is no run.
    """
    from normscope.training import dataset_of

    if target.run is None:
        msg = (
            f"--data {data}: name a function that returns batches: package.module:function. (Files "
            "are for run folders.)"
        )
        raise InputError(msg)
    return dataset_of(target.run.recipe, data)


def _of_dataset(dataset: Dataset, run: Run | None) -> Iterable[Any]:
    """The training rows in batches, shuffled as they are in training."""
    rows = torch.from_numpy(dataset.train.images), torch.from_numpy(dataset.train.labels)
    batches = math.ceil(len(rows[1]) / (run.recipe.batch_size if run else _BATCH_SIZE))
    order = torch.randperm(len(rows[1]), generator=torch.Generator().manual_seed(0))
    images, labels = (part[order].tensor_split(batches) for part in rows)
    return list(zip(images, labels, strict=True))


class _Loader:
    """Batches of somebody's own, in whose code errors become one sentence.

    Args:
        loader: the batches.
        name: under which they were found, or the function that returned them.
        most: how many are needed, of what can be gone through only once.
    """

    def __init__(self, loader: Iterable[Any], name: str, most: int | None) -> None:
        self._loader, self._name = loader, name
        with self._own_code():
            if iter(loader) is loader:
                self._loader = list(_first(iter(loader), most))

    def __iter__(self) -> Iterator[Any]:
        """Go through them.

        Raises:
            InputError: if they raise.
        """
        with self._own_code():
            iterator = iter(self._loader)
        while True:
            with self._own_code():
                try:
                    batch = next(iterator)
                except StopIteration:
                    return
            yield batch

    def __getattr__(self, name: str) -> Any:
        """The loader's own settings: a check reads them."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def __len__(self) -> int:
        """How many there are, where the loader knows."""
        return len(self._loader)  # type: ignore[arg-type]

    @contextmanager
    def _own_code(self) -> Iterator[None]:
        try:
            yield
        except NormscopeError:
            raise
        except (Exception, SystemExit) as problem:
            function = named(self._name, error=InputError)
            msg = f"{self._name}: going through its batches raised {told(problem, function)}."
            raise InputError(msg) from problem


class Seen:
    """A loader whose batches are counted before a person's eyes.

    Args:
        loader: the batches.
        work: shows the count.
        most: how many are looked at, at most.
    """

    def __init__(self, loader: Iterable[Any], work: Work, most: int | None = None) -> None:
        self._loader, self._work, self._most, self._passes = loader, work, most, 0

    def __iter__(self) -> Iterator[Any]:
        """Go through them once more."""
        self._passes += 1
        name = f"pass {self._passes}, batch" if self._passes > 1 else "batch"
        length = self._length()
        of = "" if length is None else f" of {length:,}"
        for number, batch in enumerate(self._loader, 1):
            self._work.say(f"{name} {number:,}{of}")
            yield batch
        self._work.say("comparing")

    def __getattr__(self, name: str) -> Any:
        """The loader's own settings: a check reads them."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._loader, name)

    def _length(self) -> int | None:
        """How many batches there will be, where the loader knows."""
        try:
            length = len(self._loader)  # type: ignore[arg-type]
        except (TypeError, NotImplementedError):
            return None
        return min(length, self._most or length)


def _first(iterator: Iterator[Any], most: int | None) -> Iterator[Any]:
    """The first batches, and no look at the one after them."""
    for number, batch in enumerate(iterator, 1):
        yield batch
        if number == most:
            return


def forward_of(name: str | None) -> Forward:
    """How the model is called with a batch: by somebody's own function, or as `anatomy.call` does.

    Raises:
        InputError: if there is no such function.
    """
    own: Forward = call if name is None else _function("--forward", name)

    def forward(model: nn.Module, batch: Any) -> Any:
        try:
            return own(model, batch)
        except SystemExit as problem:
            msg = f"{name or type(model).__name__}: the model raised {told(problem, own)}."
            raise OwnModelError(msg) from problem

    forward.__module__ = own.__module__  # where errors are looked for
    return forward


def optimizer_of(name: str | None, model: nn.Module) -> Optimizer | None:
    """What somebody's function, called with the model, returns.

    Raises:
        InputError: if it raises, or that is no optimizer.
    """
    if name is None:
        return None
    function = _function("--optimizer", name)
    try:
        optimizer: object = function(model)
    except (Exception, SystemExit) as problem:
        msg = f"{name}(model) raised {told(problem, function)}."
        raise InputError(msg) from problem
    if not isinstance(optimizer, Optimizer):
        msg = (
            f"{name} returned something of type {type(optimizer).__name__}; it has to return a "
            "torch.optim.Optimizer."
        )
        raise InputError(msg)
    return optimizer


@contextmanager
def prints_to_stderr(*, wanted: bool) -> Iterator[None]:
    """What somebody's code prints stays out of a result that a program reads."""
    if not wanted:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield
