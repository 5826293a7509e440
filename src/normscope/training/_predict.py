"""Reading a picture with a trained network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from normscope._errors import RunFolderError
from normscope.data import Framing, read_picture
from normscope.nn import MLP
from normscope.records import Run
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


def predict_run(path: str | Path, images: Sequence[str | Path]) -> list[Prediction]:
    """Read pictures with the network of a run folder, in eval mode, under running statistics.

    Each picture is cut and scaled so that its ink sits as it does in the run's training images.
    Where its border does not tell ink from background, both readings are tried and the one that
    the network is surer of is kept.

    Raises:
        RunFolderError: if there is no run, or no checkpoint that can be read.
        InputError: if a picture cannot be read; then none is answered.
    """
    run = Run.load(Path(path))
    network = RunFolder(Path(path)).load_network(run)
    framing = _framing(run, Path(path))
    pictures = [(Path(image), read_picture(image)) for image in images]
    with cpu_threads(run.recipe.threads):
        return [
            Prediction(image, _probabilities(network, run, framing, readings))
            for image, readings in pictures
        ]


def _framing(run: Run, path: Path) -> Framing:
    """How the run's training images sit.

    Raises:
        RunFolderError: if the record does not say it.
    """
    try:
        return TypeAdapter(Framing).validate_python(run.data.framing)
    except ValidationError as error:
        problem = error.errors()[0]
        msg = (
            f"{path}: run.json does not say how the training images sit (data.framing."
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}). Was it edited?"
        )
        raise RunFolderError(msg) from None


@torch.no_grad()
def _probabilities(
    network: MLP, run: Run, framing: Framing, readings: list[np.ndarray]
) -> dict[str, float]:
    """Every class's probability under the surer reading, the most probable first."""
    framed = np.stack([framing.frame(ink, run.data.image_size) for ink in readings])
    shares = network(torch.from_numpy(framed).flatten(1)).softmax(dim=1)
    surest = shares[shares.max(dim=1).values.argmax()].tolist()
    ranked = sorted(zip(run.data.classes, surest, strict=True), key=lambda pair: -pair[1])
    return dict(ranked)
