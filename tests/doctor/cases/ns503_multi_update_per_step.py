"""Several batches before one step: the same, different ones, and ones that are alike."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import normscope.nn
from normscope.doctor import watch
from normscope.records import Diagnosis
from tests.doctor.loops import loss_on, plain, watched
from tests.doctor.networks import rows, small


class Recomputed(nn.Module):
    """Activation checkpointing."""

    def __init__(self, inside: nn.Module, *, reentrant: bool) -> None:
        super().__init__()
        self.inside, self.reentrant = inside, reentrant

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return checkpoint(self.inside, x, use_reentrant=self.reentrant)


def sparing() -> nn.Sequential:
    """With the batch norm that counts a recomputed batch once."""
    model = small()
    model[1] = normscope.nn.BatchNorm1d(8)
    return model


def bad_recomputed() -> Diagnosis:
    diagnosis = watched(plain, model=Recomputed(small(), reentrant=False))
    assert abs(float(diagnosis.of("NS503")[0].evidence["effective momentum"]) - 0.19) < 1e-9
    return diagnosis


def good_recomputed() -> Diagnosis:
    return watched(plain, model=Recomputed(sparing(), reentrant=False))


def bad_recomputed_by_reentry() -> Diagnosis:
    """Whose first forward is without gradient: it is no validation."""
    diagnosis = watched(plain, model=Recomputed(small(), reentrant=True))
    assert not diagnosis.of("NS502")
    return diagnosis


def good_recomputed_by_reentry() -> Diagnosis:
    return watched(plain, model=Recomputed(sparing(), reentrant=True))


def two_domains(number: int) -> tuple[Tensor, Tensor]:
    return rows(seed=number), rows(seed=100 + number) + 3


def bad_two_domains() -> Diagnosis:
    diagnosis = watched(lambda model, n: loss_on(model, *two_domains(n)))
    (finding,) = diagnosis.of("NS503")
    assert finding.severity == "warning"
    assert "got 2 batches before a step" in finding.message
    assert float(finding.evidence["deviations"]) > 0.5
    return diagnosis


def gan(*, apart: bool) -> Diagnosis:
    """A discriminator that sees both kinds before its own step, and one before the generator's."""
    generator, critic = nn.Linear(4, 4), small()
    pair = nn.ModuleList([generator, critic])
    optimizers = [torch.optim.SGD(net.parameters(), lr=0.05) for net in pair]
    with watch(pair, optimizers) as loop:
        for number in range(6):
            real, fake = rows(seed=number) + 4, generator(rows(seed=100 + number))
            seen = (real, fake.detach())
            loss_on(critic, *(seen if apart else [torch.cat(seen)])).backward()
            optimizers[1].step()
            loss_on(critic, fake if apart else torch.cat([real, fake])).backward()
            optimizers[0].step()
    return loop.diagnosis()


def bad_gan() -> Diagnosis:
    diagnosis = gan(apart=True)
    assert "got 1.5 batches on average before a step" in diagnosis.of("NS503")[0].message
    return diagnosis


def good_gan() -> Diagnosis:
    return gan(apart=False)


def good_two_domains() -> Diagnosis:
    return watched(lambda model, n: loss_on(model, torch.cat(two_domains(n))))


class Unrolled(nn.Module):
    """A recurrent network that normalizes every step of a sequence by the same layer."""

    def __init__(self, norm: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.cell, self.norm = nn.Linear(4, 4), norm()

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros_like(x)
        for _ in range(4):
            state = state + self.norm(self.cell(x) + 3 * state).abs()
        return state


def bad_unrolled() -> Diagnosis:
    diagnosis = watched(plain, model=Unrolled(lambda: nn.BatchNorm1d(4)))
    assert "in one pass" in diagnosis.of("NS503")[0].message
    return diagnosis


def good_unrolled() -> Diagnosis:
    class OfEachStep(nn.ModuleList):
        def forward(self, x: Tensor) -> Tensor:
            self.turn = (getattr(self, "turn", -1) + 1) % 4
            return self[self.turn](x)

    return watched(plain, model=Unrolled(lambda: OfEachStep(nn.BatchNorm1d(4) for _ in range(4))))


def silent_two_views() -> Diagnosis:
    """SimCLR: two noisy copies of one batch."""

    def step(model: nn.Module, number: int) -> Tensor:
        x = rows(seed=number)
        views = [x + 0.1 * rows(seed=100 * k + number) for k in (1, 2)]
        return loss_on(model, *views)

    return watched(step)


def silent_accumulated_gradients() -> Diagnosis:
    return watched(lambda model, n: loss_on(model, *rows(64, seed=n).split(8)))


def bottleneck() -> nn.Sequential:
    """MobileNetV2's: behind a norm and a map without a bias, all batches have the same means."""
    maps = nn.Linear(4, 8), nn.Linear(8, 6, bias=False)
    return nn.Sequential(maps[0], nn.BatchNorm1d(8), maps[1], nn.BatchNorm1d(6))


def convolutional_bottleneck() -> nn.Sequential:
    maps = nn.Conv2d(1, 8, 2, padding=1), nn.Conv2d(8, 6, 1, bias=False)
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), maps[0], nn.BatchNorm2d(8), maps[1], nn.BatchNorm2d(6)
    )


def bad_recomputed_bottleneck() -> Diagnosis:
    """Both of its norms are given the same batch again."""
    diagnosis = watched(plain, model=Recomputed(bottleneck(), reentrant=False))
    assert diagnosis.of("NS503")[0].evidence["layers"] == 2
    return diagnosis


def good_recomputed_bottleneck() -> Diagnosis:
    return watched(plain, model=bottleneck())


def silent_accumulated_gradients_of_a_bottleneck() -> Diagnosis:
    return watched(lambda model, n: loss_on(model, *rows(64, seed=n).split(8)), model=bottleneck())


def silent_accumulated_gradients_of_a_convolutional_bottleneck() -> Diagnosis:
    return watched(
        lambda model, n: loss_on(model, *rows(64, seed=n).split(8)),
        model=convolutional_bottleneck(),
    )


def silent_small_batches() -> Diagnosis:
    return watched(lambda model, n: loss_on(model, *rows(16, seed=n).split(2)), steps=20)


def silent_validation_between_steps() -> Diagnosis:
    """A pass that nothing is learned from is another rule's."""
    diagnosis = watched(plain, then=lambda model: model(rows(seed=9) + 5))
    assert not diagnosis.of("NS503")
    return diagnosis
