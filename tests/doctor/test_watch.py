"""Watching a training loop: what is seen of it, and that nobody notices."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizers

from normscope._errors import InputError
from normscope.doctor import watch
from tests.doctor.loops import loss_on, plain, watched
from tests.doctor.networks import rows, small


def with_dropout() -> nn.Sequential:
    return nn.Sequential(small(), nn.Dropout(), nn.BatchNorm1d(3), nn.Linear(3, 2))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, *, steps: int = 5) -> list[float]:
    torch.manual_seed(1)
    losses = []
    for number in range(steps):
        optimizer.zero_grad()
        loss = plain(model, number)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def everything(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    states = [t for state in optimizer.state.values() for t in state.values()]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [*model.state_dict().values(), *gradients, *states, torch.get_rng_state()]


def hooks_of(model: nn.Module) -> list[Any]:
    tables = [
        {name: dict(held) for name, held in vars(module).items() if "hook" in name and held}
        for module in model.modules()
    ]
    tensors = [(p._backward_hooks, p._post_accumulate_grad_hooks) for p in model.parameters()]
    return [tables, tensors]


def test_the_training_ends_in_the_same_bits_with_and_without() -> None:
    ends = []
    for look in (False, True):
        torch.manual_seed(0)
        model = with_dropout()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        if look:
            with watch(model, optimizer) as loop:
                losses = train(model, optimizer)
                loop.diagnosis()
        else:
            losses = train(model, optimizer)
        ends.append((losses, everything(model, optimizer)))
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(a, b) for a, b in zip(ends[0][1], ends[1][1], strict=True))


@pytest.mark.parametrize("raising", [False, True])
def test_no_hook_is_left(raising: bool) -> None:
    model = with_dropout()
    before = hooks_of(model)
    of_all = dict(torch_optimizers._global_optimizer_post_hooks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loop() -> None:
        with watch(model, optimizer):
            assert hooks_of(model) != before, "the control"
            train(model, optimizer, steps=1)
            if raising:
                raise LookupError

    if raising:
        with pytest.raises(LookupError):
            loop()
    else:
        loop()
    assert hooks_of(model) == before
    assert dict(torch_optimizers._global_optimizer_post_hooks) == of_all
    assert not optimizer._optimizer_step_post_hooks


def test_where_a_hook_cannot_be_registered_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_dropout()
    before = hooks_of(model)

    def refuses(*_: Any, **__: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("normscope.doctor._watch.register_optimizer_step_post_hook", refuses)
    with pytest.raises(RuntimeError), watch(model):
        pass
    assert hooks_of(model) == before


def test_a_model_that_raises_in_the_middle_is_watched_on() -> None:
    """A batch of one raises inside a batch norm; the loop catches it and goes on."""
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as loop:
        with pytest.raises(ValueError, match="more than 1 value"):
            model(rows(1))
        train(model, optimizer, steps=3)
    diagnosis = loop.diagnosis()
    assert (diagnosis.conditions["steps"], diagnosis.conditions["passes"]) == (3, 4)
    assert not [f for f in diagnosis.findings if f.code.startswith("NS5")]


def test_what_is_kept_does_not_grow_with_the_loop() -> None:
    model = small()
    with watch(model) as loop, torch.no_grad():
        for _ in range(500):
            model(rows(4))
        waiting = [len(calls) for calls in loop._log._waiting.values()]
        assert max(waiting) <= 64
        assert len(loop._log._order) <= 64
    (layer,) = loop._log.so_far().layers.values()
    assert layer.updates == layer.strays.count == 500


def test_two_diagnoses_say_the_same_and_end_nothing() -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer) as loop:
        train(model, optimizer, steps=2)
        assert loop.diagnosis() == loop.diagnosis()
        train(model, optimizer, steps=2)
    with loop:
        train(model, optimizer, steps=1)
    assert loop.diagnosis().conditions["steps"] == 5


def test_the_optimizer_is_found_where_none_is_named() -> None:
    model, other = small(), small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    stranger = torch.optim.SGD(other.parameters(), lr=0.1)
    with watch(model) as loop:
        train(model, optimizer, steps=2)
        train(other, stranger, steps=3)
    assert loop.diagnosis().conditions["steps"] == 2


def test_several_optimizers_count_together() -> None:
    model = small()
    two = [torch.optim.SGD(model[layer].parameters(), lr=0.1) for layer in (0, 3)]
    with watch(model, two) as loop:
        for optimizer in two:
            train(model, optimizer, steps=2)
    assert loop.diagnosis().conditions["steps"] == 4


def test_a_wrapped_optimizer_is_the_one_inside() -> None:
    class Wrapped:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, Wrapped(optimizer)) as loop:  # type: ignore[arg-type]
        train(model, optimizer, steps=2)
    assert loop.diagnosis().conditions["steps"] == 2


def test_something_else_is_refused() -> None:
    with pytest.raises(InputError, match="optimizer is of type int; pass a torch.optim.Optimizer"):
        watch(small(), 3)  # type: ignore[arg-type]
    loop = watch(small())
    with loop, pytest.raises(InputError, match="in use"):
        loop.__enter__()


def test_findings_can_be_suppressed() -> None:
    model = small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with watch(model, optimizer, suppress={"NS503": "siamese towers"}) as loop:
        for number in range(3):
            loss_on(model, rows(seed=number), rows(seed=number) + 9).backward()
            optimizer.step()
    diagnosis = loop.diagnosis()
    assert not diagnosis.of("NS503")
    assert [hushed.finding.code for hushed in diagnosis.suppressed] == ["NS503"]


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.Linear(4, 2)),
        lambda: nn.BatchNorm1d(4),
        lambda: nn.Sequential(nn.LazyBatchNorm1d(), nn.Linear(4, 2)),
        lambda: small().double(),
        lambda: small().bfloat16(),
        lambda: nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)),
        lambda: nn.Sequential(nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 2)),
        lambda: nn.Sequential(nn.InstanceNorm1d(4, track_running_stats=True), nn.Linear(64, 2)),
        lambda: nn.DataParallel(small()),
        lambda: nn.Sequential(nn.SyncBatchNorm(4), nn.Linear(4, 2)),
    ],
)
def test_odd_models_are_watched(build: Callable[[], nn.Module]) -> None:
    """None of them has a finding that is worse than info."""
    model = build()
    kind = next((p.dtype for p in model.parameters() if p.dtype.is_floating_point), torch.float32)
    sequences = any(isinstance(module, nn.InstanceNorm1d) for module in model.modules())
    shape = (8, 4, 64) if sequences else (64, 4)
    with watch(model) as loop:
        for number in range(4):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(number)).to(kind)
            model(x).square().mean().backward()
            if number == 0:  # lazy ones have their parameters now
                optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            optimizer.step()
    findings = [f for f in loop.diagnosis().findings if f.code.startswith("NS5")]
    assert all(finding.severity == "info" for finding in findings), findings


def test_a_plain_loop_has_no_finding_of_a_loop() -> None:
    diagnosis = watched(plain, model=with_dropout(), steps=20)
    assert not [f for f in diagnosis.findings if f.code.startswith("NS5")]
    codes = {"NS501", "NS502", "NS503", "NS504", "NS505", "NS506", "NS507"}
    assert codes <= set(diagnosis.silent), "all looked"


def test_rules_that_need_a_loop_say_so_where_there_is_none() -> None:
    from normscope.doctor import check

    skipped = {each.code: each.reason for each in check(small()).skipped}
    assert "needs a training loop" in skipped["NS502"]
    assert "NS501" not in skipped


def test_a_model_can_be_copied_and_saved_while_it_is_watched() -> None:
    """As moving averages and checkpoints do; the copy is not watched."""
    model, file = small(), io.BytesIO()
    with watch(model) as loop:
        twin = copy.deepcopy(model)
        torch.save(model, file)
        file.seek(0)
        saved = torch.load(file, weights_only=False)
        assert torch.equal(twin(rows()), saved(rows()))
        assert loop.diagnosis().conditions["passes"] == 0
        model(rows())
        assert loop.diagnosis().conditions["passes"] == 1


def test_how_far_means_moved_is_told_of_a_model_in_float64() -> None:
    """The means from before are kept, not looked at where they were."""

    def thawed(model: nn.Module, number: int) -> Tensor:
        model.train()
        return loss_on(model, 2 + rows(seed=number).double())

    model = small().double()
    model[1].eval()
    (finding,) = watched(thawed, model=model).of("NS506")
    assert float(finding.evidence["moved deviations"]) > 0.1


class TwoDevices(nn.DataParallel):
    """What `DataParallel` does with two devices, on one: a copy of the model for each."""

    def forward(self, x: Tensor) -> Tensor:
        parts = enumerate(x.chunk(2))
        return torch.cat([replica_of(self.module, first=not number)(x) for number, x in parts])


def replica_of(model: nn.Module, *, first: bool) -> nn.Module:
    """As `torch.nn.parallel.replicate` makes them; buffers of the first are the model's own."""
    copies = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, copied in copies.items():
        copied._modules = {name: copies[child] for name, child in module._modules.items()}
        for name, parameter in module._parameters.items():
            setattr(copied, name, 1 * parameter)
        for name, buffer in module._buffers.items():
            copied._buffers[name] = buffer if first else buffer.clone()
    return copies[model]


def test_the_copies_of_a_data_parallel_are_one_layer() -> None:
    """A step of two devices moves the statistics once."""
    model = small()
    diagnosis = watched(plain, model=TwoDevices(model))
    assert int(model[1].num_batches_tracked) == diagnosis.conditions["steps"] == 6
    assert not diagnosis.of("NS503")
    assert not diagnosis.at_least("warning")
