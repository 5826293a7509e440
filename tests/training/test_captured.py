"""Steps on a GPU: recorded as a CUDA graph where that works, and made one by one where not."""

import copy

import pytest
import torch
from torch import Tensor

from normscope.records import Recipe
from normscope.training import _captured, build_network
from normscope.training._captured import CapturedStep
from normscope.training._network import build_optimizer, set_learning_rate
from normscope.training._steps import make_step
from normscope.training._written_out import WrittenOutStep

needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


class Recorder:
    """Stands in for CUDA: what was run on which stream, and what was recorded."""

    def __init__(self) -> None:
        self.eager: list[float] = []
        self.replayed: list[float] = []

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images.sum(), labels.sum()

    def on_a_side_stream(self, step, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self.eager.append(float(images.flatten()[0]))
        return step(images, labels)

    def record(self, step, images: Tensor, labels: Tensor):
        results = step(images, labels)

        def replay() -> None:
            self.replayed.append(float(images.flatten()[0]))
            for place, value in zip(results, step(images, labels), strict=True):
                place.copy_(value)

        return replay, results


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(_captured, "on_a_side_stream", recorder.on_a_side_stream)
    monkeypatch.setattr(_captured, "record", recorder.record)
    return recorder


def test_after_three_steps_the_recording_is_replayed_on_every_batch(recorder: Recorder) -> None:
    step, results = CapturedStep(recorder.step), []
    for number in range(6):
        images, labels = torch.full((2, 3), float(number)), torch.full((2,), number)
        results.append([float(value) for value in step(images, labels)])
    assert recorder.eager == [0, 1, 2]
    assert recorder.replayed == [3, 4, 5]
    assert results == [[6.0 * number, 2 * number] for number in range(6)]


def test_a_recording_that_fails_is_said_once_and_the_training_goes_on(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def fail(*_: object) -> None:
        tries.append(1)
        msg = "operation not permitted when stream is capturing\nmore"
        raise RuntimeError(msg)

    monkeypatch.setattr(_captured, "record", fail)
    step = CapturedStep(recorder.step)
    batch = torch.ones(2, 3), torch.ones(2, dtype=torch.int64)
    for _ in range(3):
        step(*batch)
    with pytest.warns(RuntimeWarning, match=r"without a CUDA graph.*capturing$"):
        step(*batch)
    for _ in range(3):
        loss, _ = step(*batch)
    assert loss == 6
    assert len(recorder.eager) == 3
    assert len(tries) == 1


def test_a_rate_that_is_a_tensor_stays_the_one_that_was_recorded() -> None:
    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=rate, capturable=True)
    set_learning_rate(optimizer, 0.25)
    assert rate == 0.25
    assert optimizer.param_groups[0]["lr"] is rate


@needs_a_gpu
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_on_a_gpu_the_recording_trains_as_the_cpu_does(norm: str) -> None:
    recipe = Recipe(norm=norm, hidden=(20, 15), learning_rate=0.001)
    network = build_network(recipe, inputs=30, classes=4)
    twin = copy.deepcopy(network).cuda()
    step = make_step(network, build_optimizer(network, recipe), 24)
    optimizer = build_optimizer(twin, recipe)
    captured = make_step(twin, optimizer, 24)
    for number in range(40):
        if number == 20:
            set_learning_rate(optimizer, 0.0)
            frozen = copy.deepcopy(dict(twin.named_parameters()))
        images, labels = torch.randn(24, 30), torch.randint(0, 4, (24,))
        loss, right = captured(images.cuda(), labels.cuda())
        if number < 20:
            expected, also_right = step(images, labels)
            torch.testing.assert_close(loss.cpu(), expected, rtol=1e-3, atol=1e-4)
            assert abs(int(right) - int(also_right)) <= 1
    for name, parameter in twin.named_parameters():
        assert torch.equal(parameter, frozen[name]), "a new rate reaches the recording"


@needs_a_gpu
def test_on_a_gpu_a_recording_that_fails_leaves_the_stream_as_it_was() -> None:
    def waits_for_the_device(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images.sum() * float(images.sum()), labels.sum()

    step, before = CapturedStep(waits_for_the_device), torch.cuda.current_stream()
    batch = torch.ones(2, 3, device="cuda"), torch.ones(2, dtype=torch.int64, device="cuda")
    for _ in range(3):
        step(*batch)
    with pytest.warns(RuntimeWarning, match="without a CUDA graph"):
        step(*batch)
    assert torch.cuda.current_stream() == before
    assert step(*batch)[0] == 36


@needs_a_gpu
def test_on_a_gpu_several_networks_step_as_each_would_alone() -> None:
    recipe = Recipe(hidden=(20, 15), learning_rate=0.001)
    seeds = [recipe.model_copy(update={"seed": seed}) for seed in range(3)]
    networks = [build_network(recipe, inputs=30, classes=4).cuda() for recipe in seeds]
    twins = copy.deepcopy(networks)
    optimizers = [build_optimizer(network, recipe) for network in networks + twins]
    each = [make_step(*pair, 24) for pair in zip(networks, optimizers[:3], strict=True)]
    together = CapturedStep(WrittenOutStep(twins, optimizers[3:], 24))
    for _ in range(20):
        images, labels = torch.randn(24, 3, 30).cuda(), torch.randint(0, 4, (24, 3)).cuda()
        losses, _ = together(images, labels)
        for index, step in enumerate(each):
            loss, _ = step(images[:, index].contiguous(), labels[:, index].contiguous())
            torch.testing.assert_close(losses[index], loss, rtol=1e-3, atol=1e-4)
