"""`ProbeObserver`: probes along `train`, which ends in the same bits, also when it is taken up."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from normscope._errors import InputError, RunFolderError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.probes import Moment, ProbeObserver, read_readings
from normscope.records import Reading, Recipe
from normscope.training import resume, train
from tests.conftest import bars
from tests.probes.looking import Everything, Failing, Movement, all_of_them
from tests.training.test_train import StopAfter

SMALL = Recipe(hidden=(12, 8), epochs=3, batch_size=20, constant_epochs=2, seed=5)
OWN = Path(__file__).resolve().parents[1] / "training" / "own_models.py"


def folder_bits(folder: Path) -> dict[str, object]:
    """Weights, optimizer, history and random states, as the last checkpoint and the record say."""
    newest = sorted((folder / "checkpoints").iterdir())[-1]
    record = json.loads((folder / "run.json").read_text())
    for epoch in record["epochs"]:
        del epoch["seconds"]
    return {
        "checkpoint": newest.name,
        **{file.name: file.read_bytes() for file in newest.glob("*.safetensors")},
        "epochs": record["epochs"],
        "test": record["test"],
    }


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A network with dropout, by autograd."""
    shutil.copy(OWN, "models_with_probes.py")
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "models_with_probes:convnet"
    sys.modules.pop("models_with_probes", None)


@pytest.mark.parametrize("norm", ["batch", "layer", "none", "own"])
def test_a_run_ends_in_the_same_bits(tiny: Dataset, norm: str, own: str) -> None:
    recipe = SMALL.model_copy(update={"norm": norm})
    if norm == "own":
        recipe = Recipe(model=own, epochs=3, batch_size=20, constant_epochs=2)
    states = []
    for where, observers in (
        ("alone", []),
        ("seen", [ProbeObserver(tiny.valid, all_of_them(), every=7)]),
        ("all", [ProbeObserver(tiny.valid, "all", every=17)]),
    ):
        torch.manual_seed(1), np.random.seed(1)
        train(recipe, tiny, out=where, observers=observers)
        states.append((torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()))
    assert states[0] == states[1] == states[2]
    assert folder_bits(Path("alone")) == folder_bits(Path("seen")) == folder_bits(Path("all"))
    assert {r.step for r in read_readings("seen")} == {7, 14}


class Loss(Movement):
    """Looks before and after, and keeps what it needs for a derivation of its own."""

    name, every, needs_loss = "loss", 4, True

    def read(self, moment: Moment) -> Sequence[Reading]:
        self.seen.append(
            (
                {name: value.clone() for name, value in moment.after.items()},
                {name: value.clone() for name, value in moment.before.items()},
                {name: value.clone() for name, value in moment.gradients.items()},
                dict(moment.rates),
                moment.network,
            )
        )
        value = moment.loss_at(moment.after)
        return [Reading(step=moment.step, probe=self.name, quantity="loss", value=value)]


def test_probes_look_at_as_many_rows_as_a_batch_has(tiny: Dataset) -> None:
    """By a derivation of its own: the rows are drawn by a generator of seed 0."""
    probe = Loss()
    observer = ProbeObserver(tiny.valid, [probe])
    train(SMALL, tiny, observers=[observer])
    assert [r.step for r in observer.readings] == [4, 8, 12, 16]
    rows = np.sort(np.random.default_rng(0).permutation(30)[:20])
    images = torch.from_numpy(tiny.valid.images[rows])
    labels = torch.from_numpy(tiny.valid.labels[rows])
    for reading, (after, *_, network) in zip(observer.readings, probe.seen, strict=True):
        said = torch.func.functional_call(network.train(), after, (images,))
        assert reading.value == pytest.approx(float(F.cross_entropy(said, labels)), rel=1e-5)


def test_the_written_out_step_shows_its_gradients_and_rates(tiny: Dataset) -> None:
    """Adam's first step: the rate times the gradient's sign, where that is not close to 0."""
    probe = Loss()
    recipe = SMALL.model_copy(update={"epochs": 4})
    train(recipe, tiny, observers=[ProbeObserver(tiny.valid, [probe], every=1)])
    after, before, gradients, rates, _ = probe.seen[0]
    assert before.keys() == gradients.keys() == rates.keys()
    for name, gradient in gradients.items():
        clear = gradient.abs() > 1e-4
        step = (after[name] - before[name])[clear]
        assert rates[name] == SMALL.learning_rate
        torch.testing.assert_close(
            step, -rates[name] * gradient[clear].sign(), rtol=1e-3, atol=1e-5
        )
    assert probe.seen[-1][3]["layers.0.linear.weight"] < SMALL.learning_rate  # it decays


def test_a_run_taken_up_makes_the_readings_beyond_its_checkpoint_anew(
    tiny: Dataset, tmp_path: Path
) -> None:
    def observer() -> ProbeObserver:
        return ProbeObserver(tiny.valid, [Everything(), Movement()], every=4)

    train(SMALL, tiny, out="whole", observers=[observer()])
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out="parts", observers=[observer(), StopAfter(2, 3)])
    file = Path("parts/readings.jsonl")
    kept = file.read_bytes()
    assert read_readings("parts")[-1].step == 8
    # What a kill may leave: moments beyond the checkpoint, and half a line.
    beyond = Reading(step=12, probe="movement", quantity="far", value=-1.0)
    file.write_bytes(kept + beyond.model_dump_json().encode() + b'\n{"step":')
    resume("parts", tiny, observers=[observer()])
    assert file.read_bytes() == Path("whole/readings.jsonl").read_bytes()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_tensorboard_has_them_once_also_when_the_run_is_taken_up(tiny: Dataset) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    probes = [Movement()]
    with pytest.raises(TrainingInterruptedError):
        observers = [ProbeObserver(tiny.valid, probes, every=6), StopAfter(2, 3)]
        train(SMALL, tiny, out="run", observers=observers)
    resume("run", tiny, observers=[ProbeObserver(tiny.valid, probes, every=6)])
    events = accumulator("run/tensorboard/probes").Reload()
    tag = "movement/far/layers.0.linear.weight"
    assert [event.step for event in events.Scalars(tag)] == [6, 12, 18]
    epochs = accumulator("run/tensorboard").Reload()
    assert [event.step for event in epochs.Scalars("loss/train")] == [1, 2, 3]


def test_a_failing_probe_does_not_stop_the_training(tiny: Dataset) -> None:
    train(SMALL, tiny, out="alone")
    observer = ProbeObserver(tiny.valid, [Failing(), Movement()], every=6)
    with pytest.warns(RuntimeWarning, match="failing failed at step 6") as told:
        train(SMALL, tiny, out="seen", observers=[observer])
    assert len(told) == 1
    assert observer.failures == {"failing": "ValueError: in the middle"}
    assert folder_bits(Path("alone")) == folder_bits(Path("seen"))
    marks = {r.quantity for r in observer.readings if r.probe == "failing"}
    assert marks == {"failed"}


def test_damaged_readings_are_refused_before_the_first_step(tiny: Dataset) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out="run", observers=[StopAfter(1, 1)])
    Path("run/readings.jsonl").write_text("nonsense\n")
    with pytest.raises(RunFolderError, match=r"readings.jsonl, line 1.*Delete it"):
        resume("run", tiny, observers=[ProbeObserver(tiny.valid, [Movement()])])


def test_one_row_is_too_few() -> None:
    with pytest.raises(InputError, match="two or more"):
        ProbeObserver(bars(1, 0), [Movement()])
