"""Averages, targets and checkpoints that took parameters and left the statistics."""

import copy

import torch
from torch import nn

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import batches, labelled, small, trained


def learned() -> nn.Module:
    return trained(small(), batches(*labelled()), epochs=3)


def without_buffers(source: nn.Module) -> nn.Sequential:
    """A copy that took the parameters alone, as an average of weights does."""
    model = small(seed=1)
    with torch.no_grad():
        for mine, theirs in zip(model.parameters(), source.parameters(), strict=True):
            mine.copy_(theirs)
    return model


def severity(diagnosis: Diagnosis) -> str:
    (finding,) = diagnosis.of("NS301")
    return finding.severity


def bad_average_of_weights() -> Diagnosis:
    diagnosis = check(without_buffers(learned()))
    assert severity(diagnosis) == "warning"
    assert diagnosis.findings[0].code == "NS301"
    return diagnosis


def good_average_of_weights() -> Diagnosis:
    model = without_buffers(learned())
    recalibrate(model, [labelled()[0]])
    return check(model)


class Agent(nn.Module):
    """A network that learns and its target, which follows by parameters."""

    def __init__(self, *, with_buffers: bool) -> None:
        super().__init__()
        self.online = learned()
        self.target = copy.deepcopy(self.online) if with_buffers else without_buffers(self.online)


def bad_target_network() -> Diagnosis:
    diagnosis = check(Agent(with_buffers=False))
    assert diagnosis.of("NS301")[0].module == "target.1"
    return diagnosis


def good_target_network() -> Diagnosis:
    return check(Agent(with_buffers=True))


def bad_with_data() -> Diagnosis:
    """The data say what it costs."""
    data = batches(*labelled(), size=128)
    inputs, labels = labelled()
    model = without_buffers(trained(small(), batches(10 * inputs + 30, labels), epochs=6))
    diagnosis = check(model, [(10 * x + 30, y) for x, y in data])
    assert severity(diagnosis) == "warning"
    evidence = diagnosis.of("NS301")[0].evidence
    assert evidence["score in eval mode"] < evidence["score by batch"] - 0.1
    return diagnosis


def good_with_data() -> Diagnosis:
    return check(learned(), batches(*labelled(), size=128))


def silent_new() -> Diagnosis:
    diagnosis = check(small())
    assert not diagnosis.of("NS301")
    return diagnosis


def silent_new_with_random_gammas() -> Diagnosis:
    """As some generators are built: gamma around 1, beta 0."""
    model = small()
    nn.init.normal_(model[1].weight, 1.0, 0.02)
    diagnosis = check(model)
    assert not diagnosis.of("NS301")
    return diagnosis


def silent_new_with_everything_random() -> Diagnosis:
    """As RepVGG is built: gamma and beta are drawn, and the head's biases are 0."""
    model = small()
    nn.init.normal_(model[1].weight, 0.1, 0.1)
    nn.init.normal_(model[1].bias, 0, 0.1)
    assert severity(check(model)) == "warning"
    nn.init.zeros_(model[3].bias)
    return check(model)


def silent_new_head() -> Diagnosis:
    diagnosis = check(nn.Sequential(learned(), nn.BatchNorm1d(3, affine=False)))
    assert severity(diagnosis) == "info"
    return diagnosis


def folded(*, count: int) -> nn.Module:
    """Statistics of a trained network, absorbed by gamma and beta."""
    model = learned()
    norm = model[1]
    with torch.no_grad():
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.sub_(norm.running_mean * scale)
        norm.weight.copy_(scale)
        norm.reset_running_stats()
        norm.num_batches_tracked.fill_(count)
    return model


def silent_folded() -> Diagnosis:
    return check(folded(count=24))


def silent_folded_and_shown_by_data() -> Diagnosis:
    """Nobody counted; the data show that eval mode is as good as batch statistics."""
    return check(folded(count=0), [labelled()])


class Fixed(nn.Module):
    """A frozen batch norm with no way to collect anything, as in detection backbones."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in {
            "weight": 1.5,
            "bias": 0.5,
            "running_mean": 0,
            "running_var": 1,
        }.items():
            self.register_buffer(name, torch.full((4,), float(value)))
        self.weight[0] = self.bias[0] = 2.0


def silent_fixed() -> Diagnosis:
    return check(nn.Sequential(Fixed()))
