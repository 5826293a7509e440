"""`observe`: a loop of one's own ends in the same bits, and what is read is what happened."""

import copy
import json
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

import normscope
from normscope._errors import InputError, StorageError
from normscope.probes import Moment, observe, read_readings
from normscope.probes import _readings_kept as readings_kept
from normscope.records import Reading
from tests.probes.looking import Everything, Failing, Movement, Vandal, all_of_them

X, Y = torch.randn(16, 6, generator=torch.Generator().manual_seed(1)), torch.arange(16) % 3
STEPS = 7


def small() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 3)
    )


def loss_of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def plain(model: nn.Module, optimizers: list[Optimizer]) -> None:
    [optimizer] = optimizers
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(model, (X, Y)).backward()
        optimizer.step()


def closures(model: nn.Module, optimizers: list[Optimizer]) -> None:
    [optimizer] = optimizers

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_of(model, (X, Y))
        loss.backward()
        return loss

    for _ in range(STEPS):
        optimizer.step(closure)


def accumulating(model: nn.Module, optimizers: list[Optimizer]) -> None:
    """The gradients of two batches, which are there between the steps and never set to None."""
    [optimizer] = optimizers
    for _ in range(STEPS):
        for half in (slice(0, 8), slice(8, 16)):
            (loss_of(model, (X[half], Y[half])) / 2).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)


def scaled(model: nn.Module, optimizers: list[Optimizer]) -> None:
    """As mixed precision does; every third gradient is not finite, and its step is left out."""
    [optimizer] = optimizers
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for number in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, (X, Y)) * (torch.inf if number % 3 == 2 else 1)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def in_turns(model: nn.Module, optimizers: list[Optimizer]) -> None:
    for _ in range(STEPS):
        model.zero_grad()
        loss_of(model, (X, Y)).backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()


def sgd(model: nn.Module) -> list[Optimizer]:
    return [SGD(model.parameters(), lr=0.1, momentum=0.9)]


def adam(model: nn.Module) -> list[Optimizer]:
    return [Adam(model.parameters(), lr=0.01)]


def fused(model: nn.Module) -> list[Optimizer]:
    return [Adam(model.parameters(), lr=0.01, fused=True)]


def lbfgs(model: nn.Module) -> list[Optimizer]:
    return [torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)]


def two(model: nn.Module) -> list[Optimizer]:
    return [SGD(model[0].parameters(), lr=0.1), Adam([*model[1:].parameters()], lr=0.01)]


Loop = Callable[[nn.Module, list[Optimizer]], None]
Make = Callable[[nn.Module], list[Optimizer]]
LOOPS = [
    (plain, sgd),
    (plain, adam),
    (plain, fused),
    (closures, sgd),
    (closures, lbfgs),
    (accumulating, sgd),
    (scaled, sgd),
    (scaled, fused),
    (in_turns, two),
]


def everything(model: nn.Module, optimizers: list[Optimizer]) -> str:
    """All that a training leaves, bit by bit."""
    return repr(
        [
            {name: value.tolist() for name, value in model.state_dict().items()},
            [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
            [module.training for module in model.modules()],
            [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
            [_plain(optimizer.state_dict()) for optimizer in optimizers],
            torch.get_rng_state().tolist(),
            np.random.get_state()[1].tolist(),
            random.getstate(),
            torch.is_grad_enabled(),
        ]
    )


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.tolist() if isinstance(value, Tensor) else value


def after(loop: Loop, make: Make, probes: list[object] | None, **options: object) -> str:
    model = small()
    optimizers = make(model)
    torch.manual_seed(4), np.random.seed(4), random.seed(4)
    if probes is None:
        loop(model, optimizers)
    else:
        with observe(model, probes, loss=loss_of, batch=(X[:10], Y[:10]), **options):
            loop(model, optimizers)
    return everything(model, optimizers)


@pytest.mark.parametrize(("loop", "make"), LOOPS)
def test_a_loop_ends_in_the_same_bits(loop: Loop, make: Make) -> None:
    alone = after(loop, make, None)
    assert after(loop, make, all_of_them(), every=3) == alone


def test_also_where_probes_fail() -> None:
    alone = after(plain, adam, None)
    with pytest.warns(RuntimeWarning, match="failing"):
        assert after(plain, adam, [Failing(), Everything()]) == alone


def test_one_who_calls_the_model_ends_in_others() -> None:
    """The control: what a probe does by hand, a hook of the loop's own does not undo."""
    model = small()
    [optimizer] = adam(model)
    torch.manual_seed(4), np.random.seed(4), random.seed(4)
    optimizer.register_step_post_hook(lambda *_: model(X) is None)
    plain(model, [optimizer])
    assert everything(model, [optimizer]) != after(plain, adam, None)


class Keeper(Movement):
    """Copies what it is shown."""

    name, every = "keeper", 1

    def read(self, moment: Moment) -> list[Reading]:
        self.seen.append(
            (
                moment.step,
                copy.deepcopy(moment.before),
                copy.deepcopy(moment.after),
                copy.deepcopy(moment.gradients),
                dict(moment.rates),
            )
        )
        return []


def test_a_moment_is_the_step_that_was_made() -> None:
    """Plain gradient descent: after = before − rate · gradient, by the rate of that step."""
    model, keeper = small(), Keeper()
    optimizer = SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with observe(model, [keeper], every=2):
        for _ in range(4):
            optimizer.zero_grad()
            loss_of(model, (X, Y)).backward()
            optimizer.step()
            schedule.step()
    assert [step for step, *_ in keeper.seen] == [2, 4]
    for step, before, now, gradients, rates in keeper.seen:
        assert set(rates.values()) == {0.5**step}
        assert rates.keys() == before.keys() == now.keys() == gradients.keys()
        for name, value in now.items():
            torch.testing.assert_close(value, before[name] - rates[name] * gradients[name])
            assert not torch.equal(value, before[name])


@pytest.mark.parametrize("named", [True, False])
def test_a_step_of_several_optimizers_is_one(*, named: bool) -> None:
    """Also where each throws its gradients away when it has stepped."""
    model, keeper = small(), Keeper()
    optimizers = [SGD(model[0].parameters(), lr=0.1), SGD([*model[1:].parameters()], lr=0.2)]
    with observe(model, [keeper], optimizer=optimizers if named else None) as seen:
        in_turns(model, optimizers)
    # Nobody knows before the second round who takes part in the first.
    assert [step for step, *_ in keeper.seen] == [*range(1 if named else 2, STEPS + 1)]
    assert seen.steps == STEPS
    for _, before, now, gradients, rates in keeper.seen:
        for name, value in now.items():
            torch.testing.assert_close(value, before[name] - rates[name] * gradients[name])
            assert not torch.equal(value, before[name])


def test_others_optimizers_and_those_not_named_make_no_step() -> None:
    model, other = small(), small()
    head, trunk = SGD(model[4].parameters(), lr=0.1), SGD(model[0].parameters(), lr=0.1)
    with observe(model, [Movement()], every=1, optimizer=head) as seen:
        plain(other, sgd(other))
        in_turns(model, [trunk, head, trunk])
    assert seen.steps == STEPS
    far = {r.layer: r.value for r in seen.readings if r.step == STEPS}
    assert far["0.weight"] == 0 < far["4.weight"]


def test_an_optimizer_that_takes_over_is_followed() -> None:
    model = small()
    with observe(model, [Movement()], every=1) as seen:
        for make in (sgd, adam):
            plain(model, make(model))
    assert {reading.step for reading in seen.readings} == set(range(1, 2 * STEPS + 1))


def test_steps_that_a_scaler_leaves_out_are_not_read() -> None:
    model = small()
    [optimizer] = sgd(model)
    with observe(model, [Movement()], every=1) as seen:
        scaled(model, [optimizer])
    assert seen.steps == 5  # of seven, two of which had no finite gradient
    assert all(r.value for r in seen.readings)


def test_fused_steps_that_change_nothing_are_not_read() -> None:
    model = small()
    with observe(model, [Movement()], every=1) as seen:
        scaled(model, fused(model))
    assert {r.step for r in seen.readings} == {1, 2, 4, 5, 7}


def test_every_probe_has_its_own_interval_unless_one_is_said() -> None:
    def steps(**options: int) -> dict[str, list[int]]:
        model = small()
        probes = [Everything(), Movement()]
        with observe(model, probes, loss=loss_of, batch=(X, Y), **options) as seen:
            plain(model, adam(model))
        found: dict[str, list[int]] = {}
        for r in seen.readings:
            found.setdefault(r.probe, []).append(r.step)
        return {name: sorted(set(at)) for name, at in found.items()}

    assert steps() == {"everything": [2, 4, 6], "movement": [3, 6]}
    assert steps(every=5) == {"everything": [5], "movement": [5]}


def test_parameters_are_copied_before_a_due_step_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from normscope.probes._session import Session

    held = []
    before = Session.before
    monkeypatch.setattr(
        Session, "before", lambda self, step: (before(self, step), held.append(self._before))
    )
    model = small()
    with observe(model, [Movement()], every=3):
        plain(model, adam(model))
    assert [copies is not None for copies in held] == [step % 3 == 0 for step in range(1, 8)]


def test_the_batch_stays_as_it_was_given() -> None:
    def losses(*, overwritten: bool) -> list[float | None]:
        model, batch = small(), [X.clone(), Y.clone()]
        torch.manual_seed(4)
        with observe(model, [Everything()], loss=loss_of, batch=batch) as seen:
            if overwritten:
                batch[0].zero_()
            plain(model, adam(model))
        return [r.value for r in seen.readings if r.quantity == "loss"]

    assert losses(overwritten=True) == losses(overwritten=False)


def test_a_failure_is_told_once_and_its_place_is_marked(tmp_path: Path) -> None:
    model = small()
    probes = [Failing(until=6), Movement()]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with observe(model, probes, loss=loss_of, batch=(X, Y), out=tmp_path / "o") as seen:
            plain(model, adam(model))
    assert [str(each.message) for each in told] == [
        "The probe failing failed at step 2 (ValueError: in the middle); training on."
    ]
    assert seen.failures == {"failing": "ValueError: in the middle"}
    of_it = [(r.step, r.quantity) for r in seen.readings if r.probe == "failing"]
    assert of_it == [(2, "failed"), (4, "failed"), (6, "fine")]
    assert {r.step for r in seen.readings if r.probe == "movement"} == {3, 6}


def test_an_interrupt_is_no_failure() -> None:
    class Interrupting(Movement):
        def read(self, moment: Moment) -> list[Reading]:
            moment.network.eval()
            raise KeyboardInterrupt

    model = small()
    with pytest.raises(KeyboardInterrupt), observe(model, [Interrupting()], every=1):
        plain(model, adam(model))
    assert all(module.training for module in model.modules())
    plain(model, adam(model))  # the hooks are gone


def test_a_full_disk_ends_the_reading_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = readings_kept.append_readings

    def refuse(folder: Path, readings: list[Reading]) -> None:
        if readings[0].step > 3:
            msg = "the disk is full"
            raise StorageError(msg)
        written(folder, readings)

    monkeypatch.setattr(readings_kept, "append_readings", refuse)
    alone = after(plain, adam, None)
    with pytest.warns(RuntimeWarning, match="the disk is full") as told:
        assert after(plain, adam, [Movement()], every=1, out=tmp_path) == alone
    assert len(told) == 1
    assert {r.step for r in read_readings(tmp_path)} == {1, 2, 3}


def test_the_folder_has_every_reading_as_it_comes(tmp_path: Path) -> None:
    model, out = small(), tmp_path / "new" / "folder"
    with observe(model, [Everything()], loss=loss_of, batch=(X, Y), out=out) as seen:
        plain(model, adam(model))
        inside = read_readings(out)
    lines = (out / "readings.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 2, 4, 4, 6, 6]
    assert seen.readings == inside == read_readings(out)
    assert inside[1].values[1] == np.inf
    with pytest.raises(InputError, match="holds readings already"):
        observe(model, [Movement()], out=out)


def test_memory_does_not_grow_where_there_is_a_folder(tmp_path: Path) -> None:
    model = small()
    with observe(model, [Movement()], every=1, out=tmp_path) as seen:
        plain(model, adam(model))
    assert seen._kept._memory == []
    assert len(seen.readings) == 5 * STEPS


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_tensorboard_is_written_to_where_it_is_asked_for(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    model = small()
    with observe(
        model, [Everything()], loss=loss_of, batch=(X, Y), out=tmp_path, tensorboard=True
    ) as seen:
        plain(model, adam(model))
    events = accumulator(str(tmp_path / "tensorboard" / "probes")).Reload()
    assert events.Tags()["scalars"] == ["everything/loss"]
    drawn = [(event.step, event.value) for event in events.Scalars("everything/loss")]
    said = [(r.step, r.value) for r in seen.readings if r.quantity == "loss"]
    assert drawn == [(step, pytest.approx(value, rel=1e-6)) for step, value in said]


def test_it_can_be_entered_again_but_not_twice_at_once() -> None:
    model = small()
    [optimizer] = adam(model)
    with observe(model, [Movement()], every=2) as seen:
        plain(model, [optimizer])
        with pytest.raises(InputError, match="in use"):
            seen.__enter__()
    plain(model, [optimizer])  # nobody looks
    with seen:
        plain(model, [optimizer])
    assert {r.step for r in seen.readings} == {2, 4, 6, 8, 10, 12, 14}


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(InputError, match=words) as told:
        yield
    assert "\n" not in str(told.value)


def test_what_cannot_be_observed_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = small()
    with refused("^everything: needs a loss to look at; pass loss="):
        observe(model, [Movement(), Everything()])
    with refused("go together"):
        observe(model, [Movement()], loss=loss_of)
    with refused("go together"):
        observe(model, [Movement()], batch=X)
    with refused("There is no probe 'no-such-probe'"):
        observe(model, ["no-such-probe"])
    with refused(r"Movement is a class; give an object of it, Movement\(\)"):
        observe(model, [Movement])
    with refused("of type object lacks name, every, needs_loss, read"):
        observe(model, [object()])
    with refused("every is 0"):
        observe(model, [Movement()], every=0)
    with refused("optimizer is of type int"):
        observe(model, [Movement()], optimizer=[3])
    with refused("model is of type str"):
        observe("model", [Movement()])
    with refused("name one, out="):
        observe(model, [Movement()], tensorboard=True)


def test_all_are_those_that_can_read() -> None:
    """By name, at the door: with a loss every probe, without one those that do without."""
    model = small()
    [optimizer] = adam(model)
    with normscope.observe(model, "all", every=STEPS, loss=loss_of, batch=(X, Y)) as seen:
        plain(model, [optimizer])
    assert not seen.failures
    with normscope.observe(model, every=STEPS):
        plain(model, [optimizer])


def test_a_wrapped_model_is_looked_at_as_what_is_inside() -> None:
    model = small()
    with observe(nn.DataParallel(model), [Movement()], every=1) as seen:
        plain(model, adam(model))
    assert {r.layer for r in seen.readings} == set(dict(model.named_parameters()))


def test_the_vandal_is_one() -> None:
    """The control: what the tests above find undone was done."""
    model = small()
    before = everything(model, [])
    Vandal().read(Moment(1, model, lambda m: m(X).sum(), {}, {}, {}))
    assert everything(model, []) != before
