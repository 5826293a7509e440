"""Every cause of a gap, planted in a trained network; the repaired twin has none."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.deep import Batches, class_pure, data, deep, fitted, fitted_diagnosis, fitted_of


def without_buffers() -> nn.Module:
    """An average over parameters() only, as many people write it."""
    average = deep()
    with torch.no_grad():
        for mine, theirs in zip(average.parameters(), fitted().parameters(), strict=True):
            mine.copy_(theirs)
    return average


def bad_never_collected() -> Diagnosis:
    return fitted_diagnosis(without_buffers())


def good_never_collected() -> Diagnosis:
    average = without_buffers()
    for mine, theirs in zip(average.buffers(), fitted().buffers(), strict=True):
        mine.copy_(theirs)
    return fitted_diagnosis(average)


def stale() -> nn.Module:
    """Pruned: the weights changed, the statistics did not."""
    model = fitted()
    with torch.no_grad():
        for number in (0, 3, 6):
            weight = model[number].weight
            weight[weight.abs() < weight.abs().median()] = 0
            weight *= 1.8
    return model


def bad_stale() -> Diagnosis:
    return fitted_diagnosis(stale())


def good_stale() -> Diagnosis:
    model = stale()
    recalibrate(model, data())
    return fitted_diagnosis(model)


def poisoned() -> nn.Sequential:
    model = fitted()
    bad = data()[0][0].clone()
    bad[0, 0] = torch.nan
    model(bad)
    return model


def bad_poisoned() -> Diagnosis:
    return fitted_diagnosis(poisoned())


def good_poisoned() -> Diagnosis:
    model = poisoned()
    recalibrate(model, data())
    return fitted_diagnosis(model)


def one_layer() -> nn.Sequential:
    model = fitted()
    model[4].running_mean += 4
    return model


def bad_one_layer() -> Diagnosis:
    return fitted_diagnosis(one_layer())


def good_one_layer() -> Diagnosis:
    model = one_layer()
    model[4].running_mean -= 4
    return fitted_diagnosis(model)


def scaled(batches: Batches) -> Batches:
    return [(255 * inputs, labels) for inputs, labels in batches]


def bad_input_scaled() -> Diagnosis:
    return fitted_diagnosis(fitted(), scaled(data()))


def good_input_scaled() -> Diagnosis:
    return fitted_diagnosis(fitted(), data())


def of_small_batches(momentum: float) -> nn.Module:
    return fitted_of(deep(momentum=momentum), data(size=16))


def bad_momentum() -> Diagnosis:
    return fitted_diagnosis(of_small_batches(0.99))


def good_momentum() -> Diagnosis:
    return fitted_diagnosis(of_small_batches(0.01))


def bad_slow() -> Diagnosis:
    """A momentum so small that a short training does not move the statistics."""
    return fitted_diagnosis(fitted_of(deep(momentum=0.003), data()))


def good_slow() -> Diagnosis:
    model = fitted_of(deep(momentum=0.003), data())
    recalibrate(model, data())
    return fitted_diagnosis(model)


def bad_class_pure() -> Diagnosis:
    return fitted_diagnosis(fitted_of(deep(), class_pure()), class_pure())


def good_class_pure() -> Diagnosis:
    return fitted_diagnosis(fitted(), class_pure())


def averaged() -> AveragedModel:
    """Of a model and its equal with larger weights: its statistics are those of the first."""
    average, larger = AveragedModel(fitted()), fitted()
    with torch.no_grad():
        for number in (0, 3, 6):
            larger[number].weight *= 4
            larger[number].bias *= 4
    for model in (fitted(), larger):
        average.update_parameters(model)
    return average


def bad_averaged() -> Diagnosis:
    return fitted_diagnosis(averaged())


def good_averaged() -> Diagnosis:
    average = averaged()
    recalibrate(average, data())
    return fitted_diagnosis(average)


class Domains(nn.Module):
    """Source and target domain, each a call, through one batch norm or each through its own."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 16)
        self.source = nn.BatchNorm1d(16)
        self.target = self.source if shared else nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.target(20 + 5 * self.linear(x.flip(0)))
        return self.head(self.source(self.linear(x)).relu())


def bad_shared() -> Diagnosis:
    return fitted_diagnosis(fitted_of(Domains(shared=True), data()))


def good_shared() -> Diagnosis:
    return fitted_diagnosis(fitted_of(Domains(shared=False), data()))


def silent_fresh() -> Diagnosis:
    """Just built: nothing has been collected, and nothing has been learned."""
    return fitted_diagnosis(deep())


def silent_other_rows() -> Diagnosis:
    """Rows that the model has not seen."""
    return fitted_diagnosis(fitted(), data(seed=9))


def silent_small_batches() -> Diagnosis:
    """Of four rows: batch statistics are noise, and eval mode is better."""
    return fitted_diagnosis(fitted(), data(size=4))


def silent_one_batch() -> Diagnosis:
    return fitted_diagnosis(fitted(), data()[:1])


def silent_without_labels() -> Diagnosis:
    return check(fitted(), [inputs for inputs, _ in data()])
