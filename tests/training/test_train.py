"""`train`: its bits, its figures against derivations of their own, and what it refuses."""

import contextlib
import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import config
from torch.nn import functional as F

from normscope._errors import (
    DataError,
    DivergenceError,
    InputError,
    RecipeError,
    RunFolderError,
    TrainingInterruptedError,
)
from normscope.data import Dataset, Split
from normscope.nn import BatchNorm
from normscope.records import EpochRecord, Recipe, Run, Score
from normscope.training import (
    Rows,
    StepView,
    build_network,
    evaluate,
    learning_rate,
    load,
    resume,
    train,
)
from normscope.training import test_run as score_run
from normscope.training import test_scores as scores_three_ways
from normscope.training._loop import row_order
from normscope.training._state import TrainingState

SMALL = Recipe(hidden=(12, 8), epochs=4, batch_size=20, constant_epochs=2, seed=5)


def bits(network: torch.nn.Module) -> dict[str, list]:
    return {name: value.tolist() for name, value in network.state_dict().items()}


def fresh_state(dataset: Dataset) -> TrainingState:
    network = build_network(SMALL, inputs=36, classes=3)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    steps = len(dataset.train) // SMALL.batch_size
    return TrainingState.fresh(network, optimizer, steps=steps, device=torch.device("cpu"))


class Watcher:
    """An observer that looks at everything, draws random numbers, and keeps a log."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        self.log.append(f"start {len(run.epochs)} {steps_per_epoch}")

    def on_step(self, view: StepView) -> None:
        torch.randn(3)
        rate = view.optimizer.param_groups[0]["lr"]
        self.log.append(
            f"step {view.epoch} {view.step} {len(view.labels)} {rate!r} {float(view.loss):.3f}"
        )

    def on_epoch(self, record: EpochRecord) -> None:
        self.log.append(f"epoch {record.epoch}")

    def on_end(self, run: Run) -> None:
        self.log.append(f"end {run.status}")


class StopAfter:
    """An observer that presses Ctrl-C after a given step of a given epoch."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = epoch, step

    def on_start(self, run: Run, steps_per_epoch: int) -> None: ...

    def on_step(self, view: StepView) -> None:
        import signal

        if (view.epoch, view.step) == self.at:
            signal.raise_signal(signal.SIGINT)

    def on_epoch(self, record: EpochRecord) -> None: ...

    def on_end(self, run: Run) -> None: ...


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("weights", ["scaled", "plain"])
def test_every_arm_learns(tiny: Dataset, norm: str, weights: str) -> None:
    rate = 0.02 if weights == "scaled" else 0.003
    recipe = Recipe(
        hidden=(20, 12), epochs=12, batch_size=20, norm=norm, weights=weights, learning_rate=rate
    )
    run = train(recipe, tiny).run
    assert run.status == "complete"
    assert run.epochs[-1].train_loss < run.epochs[0].train_loss / 2
    assert run.test.running.accuracy > 60  # chance is 33


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tiny: Dataset) -> None:
    first, again = train(SMALL, tiny), train(SMALL, tiny)
    other = train(SMALL.model_copy(update={"seed": 6}), tiny)
    assert bits(first.network) == bits(again.network)
    assert bits(first.network) != bits(other.network)


def test_the_loop_equals_the_one_that_a_textbook_writes(tiny: Dataset) -> None:
    """Plain Adam, plain indexing, no state: the same losses and weights."""
    network = build_network(SMALL, inputs=36, classes=3)
    optimizer = torch.optim.Adam(network.parameters(), lr=SMALL.learning_rate, foreach=False)
    images = torch.from_numpy(tiny.train.images).reshape(130, 36)
    labels = torch.from_numpy(tiny.train.labels)
    mean_losses, accuracies = [], []
    for epoch in range(1, SMALL.epochs + 1):
        optimizer.param_groups[0]["lr"] = learning_rate(SMALL, epoch)
        order, losses, right = row_order(SMALL.seed, epoch, 130), [], 0
        for start in range(0, 120, 20):
            rows = order[start : start + 20]
            optimizer.zero_grad()
            logits = network(images[rows])
            right += sum(
                int(row.argmax()) == label for row, label in zip(logits, labels[rows], strict=True)
            )
            loss = F.nll_loss(logits.log_softmax(1), labels[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        mean_losses.append(np.mean(losses))
        accuracies.append(100 * int(right) / 120)
    result = train(SMALL, tiny)
    assert [e.train_loss for e in result.run.epochs] == pytest.approx(mean_losses, rel=1e-4)
    assert [e.train_accuracy for e in result.run.epochs] == pytest.approx(accuracies)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(result.network.state_dict()[name], value, rtol=1e-2, atol=1e-3)


def test_observers_see_every_step_and_change_no_bit(tiny: Dataset) -> None:
    watcher = Watcher()
    watched = train(SMALL, tiny, observers=[watcher])
    assert bits(watched.network) == bits(train(SMALL, tiny).network)
    steps = [line.split()[:4] for line in watcher.log if line.startswith("step")]
    assert steps == [["step", str(e), str(s), "20"] for e in range(1, 5) for s in range(1, 7)]
    assert (watcher.log[0], watcher.log[-1]) == ("start 0 6", "end complete")


def test_every_epoch_visits_other_rows_once() -> None:
    orders = [row_order(0, epoch, 50).tolist() for epoch in (1, 2, 3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert row_order(1, 1, 50).tolist() != orders[0]


def test_train_figures_are_those_of_the_epochs_batches(tiny: Dataset) -> None:
    watcher = Watcher()
    result = train(SMALL, tiny, observers=[watcher])
    losses = [float(line.split()[-1]) for line in watcher.log if line.startswith("step 1 ")]
    assert result.run.epochs[0].train_loss == pytest.approx(np.mean(losses), abs=1e-3)
    rates = {int(line.split()[1]): float(line.split()[4]) for line in watcher.log if "step" in line}
    assert {epoch.epoch: epoch.learning_rate for epoch in result.run.epochs} == rates


def test_validation_figures_are_those_of_eval_mode(tiny: Dataset) -> None:
    result = train(SMALL, tiny)
    with torch.no_grad():
        logits = result.network(torch.from_numpy(tiny.valid.images).flatten(1)).double()
    labels = torch.from_numpy(tiny.valid.labels)
    by_hand = -(logits - logits.logsumexp(1, keepdim=True))[torch.arange(30), labels].mean()
    last = result.run.epochs[-1]
    assert last.valid_loss == pytest.approx(by_hand.item(), rel=1e-5)
    assert last.valid_accuracy == pytest.approx(
        100 * (logits.argmax(1) == labels).double().mean().item()
    )


def shifted(dataset: Dataset, by: float) -> Dataset:
    """The same data with a test set that is brighter: now the three statistics differ."""
    test = Split(images=dataset.test.images + np.float32(by), labels=dataset.test.labels)
    return dataclasses.replace(dataset, test=test)


def test_the_three_statistics_are_what_they_say(tiny: Dataset) -> None:
    dataset = shifted(tiny, 3.0)
    result = train(SMALL, dataset)
    x = torch.from_numpy(dataset.test.images).flatten(1)
    y = torch.from_numpy(dataset.test.labels)
    everything = torch.from_numpy(dataset.train.images).flatten(1)

    def assert_same_score(said: Score, network: torch.nn.Module) -> None:
        with torch.no_grad():
            logits = network(x).double()
        loss = (logits.logsumexp(1) - logits[torch.arange(60), y]).mean().item()
        assert said.loss == pytest.approx(loss, rel=1e-5)
        assert said.accuracy == pytest.approx(100 * (logits.argmax(1) == y).double().mean().item())

    batch = copy.deepcopy(result.network).train()
    population = copy.deepcopy(result.network)
    handed_on = everything
    for layer in population.layers:
        sums = layer.linear(handed_on).detach()
        layer.norm.running_mean.copy_(sums.mean(0))
        layer.norm.running_var.copy_(sums.var(0, correction=0))
        handed_on = layer.norm(sums).relu().detach()
    scores = result.run.test
    assert_same_score(scores.running, result.network.eval())
    assert_same_score(scores.population, population.eval())
    assert_same_score(scores.batch, batch)
    assert scores.batch.loss != scores.running.loss != scores.population.loss


def test_testing_three_ways_changes_nothing(tiny: Dataset) -> None:
    network = train(SMALL, tiny).network
    before, modes = bits(network), [m.training for m in network.modules()]
    cpu = torch.device("cpu")
    scores_three_ways(network, train=Rows.of(tiny.train, cpu), test=Rows.of(tiny.test, cpu))
    assert bits(network) == before
    assert [m.training for m in network.modules()] == modes


def test_a_failure_in_the_middle_of_a_test_leaves_the_network_as_it_was(
    tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = train(SMALL, tiny).network
    before = bits(network)
    cpu = torch.device("cpu")
    calls = 0
    forward = BatchNorm.forward

    def failing(self: BatchNorm, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise RuntimeError("in the middle")
        return forward(self, x)

    monkeypatch.setattr(BatchNorm, "forward", failing)
    train_rows, test_rows = Rows.of(tiny.train, cpu), Rows.of(tiny.test, cpu)
    fail_at = 0
    scores_three_ways(network, train=train_rows, test=test_rows)
    assert calls > 6, "the control: it is called, and can fail"
    for fail_at in range(1, calls + 1):  # noqa: B007 - `failing` reads it
        calls = 0
        with pytest.raises(RuntimeError, match="in the middle"):
            scores_three_ways(network, train=train_rows, test=test_rows)
        assert bits(network) == before
        assert not any(module.training for module in network.modules())


@pytest.mark.parametrize("norm", ["none", "layer"])
def test_without_batch_norm_the_three_are_one(tiny: Dataset, norm: str) -> None:
    scores = train(SMALL.model_copy(update={"norm": norm}), tiny).run.test
    assert scores.running == scores.population
    assert scores.batch.accuracy == scores.running.accuracy


@pytest.mark.parametrize("average", ["exponential", "cumulative"])
def test_the_recipe_reaches_the_batch_norms(average: str) -> None:
    recipe = Recipe(average=average, decay=0.75, eps=1e-3, running_variance="bessel", hidden=(5,))
    norm = build_network(recipe, inputs=4, classes=3).layers[0].norm
    assert norm.momentum == (0.25 if average == "exponential" else None)
    assert (norm.eps, norm.running_variance) == (1e-3, "bessel")


def test_a_run_is_on_disk_as_documented(tiny: Dataset, tmp_path: Path) -> None:
    result = train(SMALL, tiny, out=tmp_path / "run")
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["format_version"] == 1
    assert document["recipe"]["hidden"] == [12, 8]
    assert [epoch["epoch"] for epoch in document["epochs"]] == [1, 2, 3, 4]
    assert set(document["epochs"][0]) == {
        "epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy",
        "learning_rate", "seconds",
    }  # fmt: skip
    for statistics in ("running", "population", "batch"):
        assert set(document["test"][statistics]) == {"accuracy", "loss"}
    assert document["environment"]["torch"] == torch.__version__
    assert Run.load(tmp_path / "run") == result.run
    assert Recipe.from_toml(tmp_path / "run" / "recipe.toml") == result.run.recipe
    assert bits(load(tmp_path / "run")) == bits(result.network)
    assert score_run(tmp_path / "run", tiny) == result.run.test


def test_weights_are_safetensors_that_anyone_can_load(tiny: Dataset, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    result = train(SMALL, tiny, out=tmp_path / "run")
    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    network = build_network(SMALL, inputs=36, classes=3)
    network.load_state_dict(load_file(newest / "network.safetensors"))
    assert bits(network) == bits(result.network)


@pytest.mark.parametrize("at", [(1, 1), (1, 6), (2, 3), (3, 6), (4, 2)], ids=str)
def test_interrupted_anywhere_and_resumed_ends_in_the_same_bits(
    tiny: Dataset, tmp_path: Path, at: tuple[int, int]
) -> None:
    whole = train(SMALL, tiny)
    with pytest.raises(TrainingInterruptedError, match="Stopped"):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(*at)])
    assert Run.load(tmp_path / "run").status == "interrupted"
    torch.randn(17)  # a resumed process has another random state
    resumed = resume(tmp_path / "run", tiny)
    assert bits(resumed.network) == bits(whole.network)
    without_time = {"epochs": {"__all__": {"seconds"}}, "notes": True}
    assert resumed.run.model_dump(exclude=without_time) == whole.run.model_dump(
        exclude=without_time
    )
    assert any("Resumed" in note for note in resumed.run.notes)


def test_a_resume_that_lost_adams_moments_would_be_seen(tiny: Dataset, tmp_path: Path) -> None:
    """The control of the test above."""
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(2, 3)])
    from safetensors.torch import load_file, save_file

    newest = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1] / "training.safetensors"
    tensors = load_file(newest)
    save_file({k: v * 0 if "exp_avg_sq" in k else v for k, v in tensors.items()}, newest)
    assert bits(resume(tmp_path / "run", tiny).network) != bits(train(SMALL, tiny).network)


def test_two_interruptions_in_one_epoch(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(2, 2)])
    with pytest.raises(TrainingInterruptedError):
        resume(tmp_path / "run", tiny, observers=[StopAfter(2, 4)])
    assert bits(resume(tmp_path / "run", tiny).network) == bits(train(SMALL, tiny).network)


class Poison:
    """An observer that breaks the rules: it puts a NaN into the weights."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = epoch, step

    def on_start(self, run: Run, steps_per_epoch: int) -> None: ...

    def on_step(self, view: StepView) -> None:
        if (view.epoch, view.step) == self.at:
            with torch.no_grad():
                view.network.layers[0].linear.weight[0, 0] = float("nan")

    def on_epoch(self, record: EpochRecord) -> None: ...

    def on_end(self, run: Run) -> None: ...


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        ((3, 2), "step 3 of 6 in epoch 3"),
        ((3, 6), "weight is not finite after step 6 of 6 in epoch 3"),
    ],
    ids=["within the epoch", "at its last step"],
)
def test_divergence_stops_the_run_and_keeps_the_last_good_checkpoint(
    tiny: Dataset, tmp_path: Path, at: tuple[int, int], seen: str
) -> None:
    with pytest.raises(DivergenceError, match=seen) as caught:
        train(SMALL, tiny, out=tmp_path / "run", observers=[Poison(*at)])
    assert "after epoch 2, is kept" in str(caught.value)
    assert "--learning-rate" in str(caught.value)
    run = Run.load(tmp_path / "run")
    assert (run.status, len(run.epochs)) == ("diverged", 2)
    assert all(value.isfinite().all() for value in load(tmp_path / "run").state_dict().values())
    # The kept checkpoint is whole: without the poison the run ends where it should have.
    assert bits(resume(tmp_path / "run", tiny).network) == bits(train(SMALL, tiny).network)


def test_a_folder_that_holds_a_run_is_refused_and_left_alone(tiny: Dataset, tmp_path: Path) -> None:
    train(SMALL, tiny, out=tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    with pytest.raises(RunFolderError, match="already holds a run.*--resume"):
        train(SMALL, tiny, out=tmp_path / "run")
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_folder_with_other_files_is_refused(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="other files"):
        train(SMALL, tiny, out=tmp_path)


def test_a_complete_run_is_not_resumed(tiny: Dataset, tmp_path: Path) -> None:
    train(SMALL, tiny, out=tmp_path / "run")
    with pytest.raises(RunFolderError, match="complete"):
        resume(tmp_path / "run", tiny)


def test_other_data_are_not_resumed_with(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(1, 2)])
    with pytest.raises(DataError, match="fingerprints differ"):
        resume(tmp_path / "run", shifted(tiny, 1.0))


def test_two_processes_do_not_train_one_run(tiny: Dataset, tmp_path: Path) -> None:
    from normscope.training import RunFolder

    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(1, 2)])
    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(RunFolderError, match="another process"),
    ):
        resume(tmp_path / "run", tiny)


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_written(
    tiny: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"batch_size is 500.*130 training rows"):
        train(SMALL.model_copy(update={"batch_size": 500}), tiny, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ("batch", r"The recipe is 'batch'; make one, such as Recipe\(norm="),
        ({"epochs": 1}, "The recipe is {'epochs': 1}"),
        ({}, "The recipe is {}"),
        (Recipe, "The recipe is the class Recipe"),
    ],
)
def test_what_is_no_recipe_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tiny: Dataset, tmp_path: Path, recipe: object, says: str
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user without checks of types
    with pytest.raises(RecipeError, match=says):
        train(recipe, tiny, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class LooksOn:
    def on_start(self, run: object, steps_per_epoch: int) -> None: ...
    def on_step(self, view: object) -> None: ...
    def on_epoch(self, record: object) -> None: ...
    def on_end(self, run: object) -> None: ...


class LooksOnHalf:
    on_start, on_end = LooksOn.on_start, LooksOn.on_end


@pytest.mark.parametrize(
    ("observers", "says"),
    [
        ([object()], r"observers\[0\] is of type object and lacks on_start, on_step, on_epoch, on"),
        (
            [LooksOn(), LooksOnHalf()],
            r"observers\[1\] is .*Half and lacks on_step, on_epoch;",
        ),
        ([LooksOn], r"observers\[0\] is the class LooksOn; give an object of it, LooksOn\(\)"),
        (LooksOn(), "observers is of type LooksOn; give a list"),
    ],
)
def test_what_cannot_look_on_is_a_sentence_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch, tiny: Dataset, tmp_path: Path, observers: object, says: str
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    run = tmp_path / "run"
    recipe = Recipe(hidden=(4,), epochs=1, batch_size=20)
    with pytest.raises(InputError, match=says):
        train(recipe, tiny, out=run, observers=observers)
    with pytest.raises(InputError, match=says):
        resume(run, tiny, observers=observers)
    assert not run.exists()
    assert train(recipe, tiny, observers=[LooksOn()]).run.status == "complete"


def test_a_gpu_that_is_not_there_is_refused(
    tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match="no GPU"):
        train(SMALL.model_copy(update={"device": "cuda"}), tiny, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("raises", [False, True])
def test_evaluation_keeps_every_modules_mode(tiny: Dataset, raises: bool) -> None:
    network = build_network(SMALL, inputs=36, classes=3).train()
    network.layers[1].norm.eval()  # frozen
    if raises:
        network.layers[2].register_forward_hook(lambda *_: 1 / 0)
    modes = [module.training for module in network.modules()]
    with pytest.raises(ZeroDivisionError) if raises else contextlib.nullcontext():
        evaluate(network, Rows.of(tiny.test, torch.device("cpu")))
    assert [module.training for module in network.modules()] == modes


@pytest.mark.parametrize("lost", [False, True])
def test_event_files_hold_every_epochs_figures_once(
    tiny: Dataset, tmp_path: Path, lost: bool
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(3, 1)])
    if lost:  # a kill takes what the writer still held
        for file in (tmp_path / "run" / "tensorboard").iterdir():
            file.unlink()
    run = resume(tmp_path / "run", tiny).run
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    points = [(e.step, e.value) for e in events.Scalars("accuracy/valid")]
    assert points == [(e.epoch, pytest.approx(e.valid_accuracy)) for e in run.epochs]


class InterruptThePoisoned(Poison):
    """A NaN in the weights, and Ctrl-C in the same step: the losses so far are all finite."""

    def on_step(self, view: StepView) -> None:
        super().on_step(view)
        StopAfter(*self.at).on_step(view)


def test_a_state_that_is_not_finite_is_not_saved_by_ctrl_c_either(
    tiny: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(DivergenceError, match=r"layers.0.linear.weight is not finite after step 3"):
        train(SMALL, tiny, out=tmp_path / "run", observers=[InterruptThePoisoned(2, 3)])
    assert bits(resume(tmp_path / "run", tiny).network) == bits(train(SMALL, tiny).network)


def test_the_newest_two_checkpoints_are_kept(tiny: Dataset, tmp_path: Path) -> None:
    train(SMALL, tiny, out=tmp_path / "run")
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["epoch-000003-step-000000", "epoch-000004-step-000000"]


def test_an_uninterrupted_run_has_nothing_to_note(tiny: Dataset, tmp_path: Path) -> None:
    assert train(SMALL, tiny, out=tmp_path / "run").run.notes == ()


def test_another_environment_is_noted(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(2, 3)])
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace(torch.__version__, "1.0"))
    notes = resume(tmp_path / "run", tiny).run.notes
    assert [note.split()[0] for note in notes] == ["Interrupted", "Resumed", "Resumed"]
    assert "bits may differ" in notes[-1]


def test_a_resumed_run_says_so_at_once(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(2, 3)])
    seen = []

    class Look(Watcher):
        def on_start(self, run: Run, steps_per_epoch: int) -> None:
            seen.append(Run.load(tmp_path / "run"))

    resume(tmp_path / "run", tiny, observers=[Look()])
    assert seen[0].status == "running"
    assert "Resumed in epoch 2 after step 3 of 6." in seen[0].notes


def test_what_a_person_wrote_into_recipe_toml_stays(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(2, 3)])
    (tmp_path / "run" / "recipe.toml").write_text("# mine")
    resume(tmp_path / "run", tiny)
    assert (tmp_path / "run" / "recipe.toml").read_text() == "# mine"


def test_the_seconds_of_an_interrupted_epoch_add_up(tiny: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[StopAfter(2, 3)])
    state = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1] / "state.json"
    document = json.loads(state.read_text())
    state.write_text(json.dumps(document | {"seconds": 1000.0}))
    epochs = resume(tmp_path / "run", tiny).run.epochs
    assert epochs[1].seconds > 1000 > epochs[2].seconds


class Draws(Watcher):
    """An observer that uses torch's random numbers, as a probe may."""

    def on_step(self, view: StepView) -> None:
        self.log.append(f"{view.epoch} {view.step} {torch.rand(()).item()}")

    def on_end(self, run: Run) -> None: ...


def test_the_random_state_goes_on_where_it_stopped(tiny: Dataset, tmp_path: Path) -> None:
    whole, first, second = Draws(), Draws(), Draws()
    torch.manual_seed(1)
    train(SMALL, tiny, observers=[whole])
    torch.manual_seed(1)
    with pytest.raises(TrainingInterruptedError):
        train(SMALL, tiny, out=tmp_path / "run", observers=[first, StopAfter(2, 3)])
    torch.manual_seed(99)
    resume(tmp_path / "run", tiny, observers=[second])
    assert first.log[1:] + second.log[1:] == whole.log[1:]


def test_numbered_folders_are_claimed_one_each(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "runs" / "bars-1").mkdir(parents=True)  # another process is about to use it
    result = train(SMALL, tiny, out=tmp_path / "runs" / "bars", number=True)
    assert result.folder == tmp_path / "runs" / "bars-2"
    assert not list((tmp_path / "runs" / "bars-1").iterdir())


def test_a_folder_that_another_process_is_about_to_fill_is_refused(
    tiny: Dataset, tmp_path: Path
) -> None:
    from normscope.training import RunFolder

    (tmp_path / "run").mkdir()
    with (
        RunFolder(tmp_path / "run").locked(),
        pytest.raises(RunFolderError, match="another process"),
    ):
        train(SMALL, tiny, out=tmp_path / "run")


def test_what_a_kill_at_the_very_start_left_is_no_obstacle(tiny: Dataset, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / ".run.json.abc.tmp").touch()
    train(SMALL, tiny, out=tmp_path / "run")


def test_a_network_that_does_not_fit_into_memory_is_a_sentence(
    tiny: Dataset, tmp_path: Path
) -> None:
    recipe = SMALL.model_copy(update={"hidden": (1_000_000, 1_000_000)})
    with pytest.raises(RecipeError, match="not enough memory"):
        train(recipe, tiny, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_test_set_of_one_row_is_refused_at_once(tiny: Dataset, tmp_path: Path) -> None:
    one = dataclasses.replace(
        tiny, test=Split(images=tiny.test.images[:1], labels=tiny.test.labels[:1])
    )
    with pytest.raises(DataError, match="one row"):
        train(SMALL, one, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert train(SMALL.model_copy(update={"norm": "none"}), one).run.status == "complete"


def test_population_statistics_are_the_runs_own_also_on_other_data(
    tiny: Dataset, tiny_file: Path, tmp_path: Path
) -> None:
    run = train(SMALL, tiny_file, out=tmp_path / "run").run
    elsewhere = dataclasses.replace(
        tiny, train=Split(images=tiny.train.images + np.float32(9), labels=tiny.train.labels)
    )
    scores = score_run(tmp_path / "run", elsewhere)
    assert scores.population == run.test.population


def test_the_validation_share_reaches_the_data(tiny: Dataset, tmp_path: Path) -> None:
    np.savez(
        tmp_path / "keras.npz",
        x_train=tiny.train.images, y_train=tiny.train.labels,
        x_test=tiny.test.images, y_test=tiny.test.labels,
    )  # fmt: skip
    recipe = SMALL.model_copy(update={"valid_fraction": 0.3, "data": str(tmp_path / "keras.npz")})
    assert train(recipe).run.data.valid_rows == pytest.approx(0.3 * 130, abs=2)


def test_eps_reaches_layer_norm_too() -> None:
    network = build_network(Recipe(norm="layer", eps=1e-3, hidden=(5,)), inputs=4, classes=3)
    assert [layer.norm.eps for layer in network.layers] == [1e-3, 1e-3]
