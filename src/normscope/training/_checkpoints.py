"""A training state on disk: complete or absent, and loadable without executing code.

A checkpoint is a folder with three files:

* ``network.safetensors``: weights and buffers, by their names in the network's state dict;
* ``training.safetensors``: Adam's moments by parameter name, the unfinished epoch's losses, and
  torch's random state;
* ``state.json``: finished epochs, step, format version.

The schedule and the order of the data are functions of the recipe and the epoch.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from normscope._errors import RunFolderError
from normscope.records import EpochRecord, Record
from normscope.training._state import TrainingState

_NETWORK, _TRAINING, _STATE = "network.safetensors", "training.safetensors", "state.json"
_UNFINISHED = ".unfinished-"
_KEPT = 2
_FORMAT = 1


class _Position(Record):
    """`state.json`: where the training stands."""

    format_version: int = _FORMAT
    epochs: tuple[EpochRecord, ...] = Field((), strict=False)
    step: int = Field(ge=0)
    seconds: float


def save_checkpoint(folder: Path, state: TrainingState) -> Path:
    """Write `state` as a new checkpoint under `folder`, and drop all but the newest two.

    The files are written to a folder of another name, which takes its own in one step once they
    have reached the disk.

    Raises:
        OSError: if the disk refuses; the checkpoints that were there are untouched.
    """
    name = f"epoch-{len(state.epochs):06d}-step-{state.step:06d}"
    unfinished = folder / (_UNFINISHED + name)
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    position = _Position(epochs=tuple(state.epochs), step=state.step, seconds=state.seconds)
    try:
        _write(unfinished / _NETWORK, save(_contiguous(state.network.state_dict())))
        _write(unfinished / _TRAINING, save(_contiguous(_training_tensors(state))))
        _write(unfinished / _STATE, position.model_dump_json(indent=2).encode())
        _sync_folder(unfinished)
        if (folder / name).exists():
            _remove(folder / name)
        unfinished.rename(folder / name)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    _sync_folder(folder)
    for old in checkpoints(folder)[:-_KEPT]:
        _remove(old)
    return folder / name


def checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints under `folder`, oldest first."""
    return sorted(path for path in folder.glob("epoch-*-step-*") if path.is_dir())


def sweep(folder: Path) -> None:
    """Remove what a kill in the middle of a write left behind."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


def load_network_tensors(checkpoint: Path, network: nn.Module) -> None:
    """Fill a network of the same recipe with a checkpoint's weights and buffers.

    Raises:
        RunFolderError: if the file is missing or damaged, or of another network.
    """
    tensors = _read_tensors(checkpoint / _NETWORK)
    with _misfits(checkpoint):
        network.load_state_dict(tensors)


def load_state(checkpoint: Path, state: TrainingState) -> None:
    """Fill a fresh `state` of the same recipe with a checkpoint's.

    Raises:
        RunFolderError: if a file is missing, damaged, or of another network.
    """
    position = _read_position(checkpoint / _STATE)
    tensors = _read_tensors(checkpoint / _TRAINING)
    load_network_tensors(checkpoint, state.network)
    with _misfits(checkpoint):
        _fill_optimizer(state, tensors)
        state.losses.copy_(tensors["losses"])
        state.correct.copy_(tensors["correct"])
        torch.set_rng_state(tensors["random.cpu"])
        if "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"], state.losses.device)
    state.epochs = list(position.epochs)
    state.step = position.step
    state.seconds = position.seconds


@contextmanager
def _misfits(checkpoint: Path) -> Iterator[None]:
    """Tensors of another network are one sentence."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = f"{checkpoint}: the checkpoint does not fit the run's recipe ({reason})."
        raise RunFolderError(msg) from error


def _training_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Everything but the network, by name."""
    tensors = {
        f"adam.{slot}.{name}": value
        for name, parameter in state.network.named_parameters()
        for slot, value in state.optimizer.state[parameter].items()
    }
    tensors |= {"losses": state.losses, "correct": state.correct}
    tensors["random.cpu"] = torch.get_rng_state()
    if state.losses.is_cuda:
        tensors["random.cuda"] = torch.cuda.get_rng_state(state.losses.device)
    return tensors


def _fill_optimizer(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    """Give Adam the moments that `_training_tensors` named, if it had made a step."""
    optimizer_state: dict[str, Any] = state.optimizer.state_dict()
    slots = ("step", "exp_avg", "exp_avg_sq")
    # Before the first step Adam has nothing, and never of a parameter that gets no gradient.
    optimizer_state["state"] = {
        index: {slot: tensors[f"adam.{slot}.{name}"] for slot in slots}
        for index, (name, _) in enumerate(state.network.named_parameters())
        if f"adam.step.{name}" in tensors
    }
    state.optimizer.load_state_dict(optimizer_state)


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """On the CPU and laid out plainly, each in memory of its own, as safetensors wants them.

    Tied weights share theirs: they are written twice, and are tied again when they are loaded.
    """
    taken: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        plain[name] = tensor.detach().cpu().contiguous()
        memory = plain[name].untyped_storage().data_ptr()
        if memory in taken:
            plain[name] = plain[name].clone()
        taken.add(memory)
    return plain


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(path, error) from error


def _read_position(path: Path) -> _Position:
    try:
        content = json.loads(path.read_bytes())
        version = content.get("format_version") if isinstance(content, dict) else None
        if isinstance(version, int) and version > _FORMAT:
            msg = f"{path}: a newer Normscope wrote this checkpoint (format {version}). Upgrade."
            raise RunFolderError(msg)
        return _Position.model_validate(content)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> RunFolderError:
    reason = " ".join(str(error).split())[:200]
    return RunFolderError(
        f"{path}: the checkpoint is damaged ({reason}). Delete its folder, {path.parent.name}, to "
        "go back to the checkpoint before it."
    )


def _write(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(checkpoint: Path) -> None:
    """Take the name away first: a kill in between leaves no half checkpoint under a good name."""
    doomed = checkpoint.with_name(_UNFINISHED + checkpoint.name)
    shutil.rmtree(doomed, ignore_errors=True)
    checkpoint.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
