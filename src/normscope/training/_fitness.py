"""What is refused before anything is written: data, recipe and machine that do not fit together."""

from normscope._errors import DataError, RecipeError
from normscope.data import Dataset
from normscope.records import Recipe, Run
from normscope.training._own_model import refuse_wrong_arguments

_BY_BATCH = {"batch", "last", "noisy", "calm", "detached", "mean", "variance"}
"""The norms that are tested by the test set's own statistics, too."""


def refuse_misfit(recipe: Recipe, dataset: Dataset) -> None:
    """Refuse a recipe that the data cannot serve.

    Raises:
        RecipeError: if a batch is larger than the training set, or the function of a model of
            somebody's own cannot be called.
        DataError: if the test set is too small for the batch statistics that it is tested with.
    """
    rows = len(dataset.train)
    if recipe.batch_size > rows:
        msg = (
            f"batch_size is {recipe.batch_size}, but {dataset.name} has only {rows} training rows. "
            f"Use --batch-size {rows} or less."
        )
        raise RecipeError(msg)
    if recipe.model is not None:
        shape = dataset.train.images.shape[1:]
        refuse_wrong_arguments(recipe, shape=shape, classes=len(dataset.classes))
    elif recipe.norm in _BY_BATCH and len(dataset.test) == 1:
        msg = (
            f"{dataset.source}: the test set has one row, which has no batch statistics. Put at "
            "least two rows there."
        )
        raise DataError(msg)


def refuse_other_kind(run: Run, dataset: Dataset) -> None:
    """Refuse data whose images or classes the run's network cannot take.

    Raises:
        DataError: naming both sizes and both numbers of classes.
    """
    size = dataset.train.images.shape[1:]
    if size != run.data.image_size or len(dataset.classes) != len(run.data.classes):
        msg = (
            f"{dataset.source}: images of {_by(size)} in {len(dataset.classes)} classes, but the "
            f"run's network takes {_by(run.data.image_size)} in {len(run.data.classes)}."
        )
        raise DataError(msg)


def _by(size: tuple[int, ...]) -> str:
    """``28 x 28``."""
    return " x ".join(map(str, size))


def refuse_other_data(run: Run, dataset: Dataset, found: str) -> None:
    """Refuse data whose fingerprint, `found`, is not that of the run's data.

    Raises:
        DataError: naming where the data came from.
    """
    if found != run.data.fingerprint:
        msg = (
            f"{dataset.source}: these are not the data that the run was trained on so far (their "
            "fingerprints differ). Pass the same data with --data, or start a new run."
        )
        raise DataError(msg)
