"""`inspect` for a run folder: what is inside its network, in a file beside its record."""

from pathlib import Path

from normscope import probes
from normscope.data import Dataset, fingerprint
from normscope.records import Inspection, Run, storage_errors
from normscope.training import (
    RunFolder,
    cpu_threads,
    dataset_of,
    memory_errors,
    own_model_errors,
    refuse_other_data,
)

_NAME = "inspection.json"


def inspect_run(path: str | Path, data: Dataset | str | Path | None = None) -> Inspection:
    """Look inside the network of a run folder, and save what is seen as its ``inspection.json``.

    The network is that of the newest checkpoint, also of a run that is unfinished or diverged. The
    distributions through training are there if a `HistoryProbe` looked on, as it does at
    ``normscope train``.

    Args:
        path: the run folder.
        data: the run's data, or where they are now, if they moved.

    Raises:
        RunFolderError: if there is no run, no checkpoint that can be read, or a damaged history.
        DataError: if the data cannot be used, or are not those of the run.
        RecipeError: if a model of somebody's own raises.
        StorageError: if the disk refuses.

    Example:
        >>> import tempfile
        >>> from normscope.records import Recipe
        >>> from normscope.training import train
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(Recipe(hidden=(30,), epochs=1), out=f"{folder}/run")
        ...     len(inspect_run(f"{folder}/run").layers)
        2
    """
    folder, run = Path(path), Run.load(path)
    dataset = data if isinstance(data, Dataset) else dataset_of(run.recipe, data)
    refuse_other_data(run, dataset, fingerprint(dataset))
    network = RunFolder(folder).load_network(run)
    history = probes.read_history(folder)
    with cpu_threads(run.recipe.threads), memory_errors(), own_model_errors(run.recipe):
        seen = probes.inspect(network, train=dataset.train, test=dataset.test, history=history)
    with storage_errors(folder / _NAME):
        seen.save(folder / _NAME)
    return seen
