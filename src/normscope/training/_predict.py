"""Reading pictures with a trained network."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from normscope._errors import RunFolderError
from normscope.data import Framing, read_picture
from normscope.records import Run, first_told
from normscope.training._environment import cpu_threads
from normscope.training._run_folder import RunFolder


@dataclass(frozen=True)
class Prediction:
    """What a network reads in a picture.

    Attributes:
        image: the picture's file.
        probabilities: of every class by its name, the most probable first; they add up to 1.
    """

    image: Path
    probabilities: dict[str, float]

    @property
    def label(self) -> str:
        """The most probable class."""
        return next(iter(self.probabilities))


class Reader:
    """Reads pictures with the network of a run folder, in eval mode, under running statistics.

    Each picture is cut and scaled so that its ink sits as it does in the run's training images.
    Where its border does not tell ink from background, both readings are tried and the one that
    the network is surer of is kept.

    Args:
        path: the run folder.

    Raises:
        RunFolderError: if there is no run, or no checkpoint that can be read, or the run's inputs
            are no grey pictures.
        RecipeError: if it is of a model of somebody's own, which cannot be built here.
    """

    def __init__(self, path: str | Path) -> None:
        self.run = Run.load(path)
        self._network = RunFolder(Path(path)).load_network(self.run)
        self._size = _picture_size(self.run, Path(path))
        self._framing = _framing(self.run, Path(path))

    @torch.no_grad()
    def read(self, image: str | Path) -> Prediction:
        """Read one picture.

        Raises:
            InputError: if the picture cannot be read, or shows one tone only.
        """
        framed = np.stack([self._framing.frame(ink, self._size) for ink in read_picture(image)])
        inputs = torch.from_numpy(framed).view(-1, *self.run.data.image_size)
        with cpu_threads(self.run.recipe.threads):
            shares = self._network(inputs).softmax(dim=1)
        surest = shares[shares.max(dim=1).values.argmax()].tolist()
        ranked = sorted(zip(self.run.data.classes, surest, strict=True), key=lambda pair: -pair[1])
        return Prediction(Path(image), dict(ranked))


def predict_run(path: str | Path, images: str | Path | Iterable[str | Path]) -> list[Prediction]:
    """Read one picture or several with the network of a run folder; see `Reader`.

    Raises:
        RunFolderError: if there is no run, or no checkpoint that can be read, or the run's inputs
            are no grey pictures.
        RecipeError: if it is of a model of somebody's own, which cannot be built here.
        InputError: if a picture cannot be read.
    """
    reader = Reader(path)
    several = [images] if isinstance(images, str | Path) else images
    return [reader.read(image) for image in several]


def _picture_size(run: Run, path: Path) -> tuple[int, int]:
    """Height and width of the run's pictures.

    Raises:
        RunFolderError: if its inputs are no grey pictures.
    """
    if run.data.picture_size is None:
        shape = " x ".join(map(str, run.data.image_size))
        msg = (
            f"{path}: this run's inputs have the shape {shape}; only grey pictures can be read "
            "from files. Call the network yourself: normscope.load(RUN)(inputs)."
        )
        raise RunFolderError(msg)
    return run.data.picture_size


def _framing(run: Run, path: Path) -> Framing:
    """How the run's training images sit.

    Raises:
        RunFolderError: if the record does not say it.
    """
    try:
        return TypeAdapter(Framing).validate_python(run.data.framing)
    except ValidationError as error:
        msg = (
            f"{path}: run.json does not say how the training images sit (data.framing."
            f"{first_told(error)}). Was it edited?"
        )
        raise RunFolderError(msg) from None
