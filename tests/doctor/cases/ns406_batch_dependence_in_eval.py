"""Batch norms that eval mode does not stop from using the batch."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.doctor import check
from normscope.records import Diagnosis
from normscope.surgery import recalibrate
from tests.doctor.networks import rows, small


class Layer(nn.Module):
    """A batch norm of one's own, as in a meta-learner."""

    def __init__(self, *, hard_coded: bool) -> None:
        super().__init__()
        self.hard_coded = hard_coded
        self.register_buffer("running_mean", torch.zeros(8))
        self.register_buffer("running_var", torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        by_batch = self.hard_coded or self.training
        return F.batch_norm(x, self.running_mean, self.running_var, training=by_batch)


class Held(nn.Module):
    """A batch norm in a list."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        norms = [nn.BatchNorm1d(4)]
        self.norms = nn.ModuleList(norms) if registered else norms

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[0](x)


class AlwaysTraining(nn.BatchNorm1d):
    """One whose mode cannot be set."""

    def train(self, mode: bool = True) -> nn.Module:
        del mode
        return super().train(True)


def with_norm(norm: nn.Module) -> nn.Sequential:
    model = small()
    model[1] = norm
    return model


def looked_at(model: nn.Module) -> Diagnosis:
    return check(model, rows().split(32))


def fix_of(diagnosis: Diagnosis) -> str:
    return diagnosis.of("NS406")[0].fix


def bad_no_running_statistics() -> Diagnosis:
    diagnosis = looked_at(with_norm(nn.BatchNorm1d(8, track_running_stats=False)))
    assert "track_running_stats=True" in fix_of(diagnosis)
    return diagnosis


def good_no_running_statistics() -> Diagnosis:
    model = with_norm(nn.BatchNorm1d(8))
    recalibrate(model, rows().split(32))
    return looked_at(model)


def bad_one_row_raises() -> Diagnosis:
    return check(with_norm(nn.BatchNorm1d(8, track_running_stats=False)), rows(4).split(1))


def good_one_row_raises() -> Diagnosis:
    return check(with_norm(nn.BatchNorm1d(8)), [*rows(4).split(1), rows(8)])


def bad_hard_coded() -> Diagnosis:
    diagnosis = looked_at(with_norm(Layer(hard_coded=True)))
    assert "training=self.training" in fix_of(diagnosis)
    assert "track_running_stats" not in fix_of(diagnosis), "it is no module of torch's"
    return diagnosis


def good_hard_coded() -> Diagnosis:
    return looked_at(with_norm(Layer(hard_coded=False)))


def bad_held_in_a_list() -> Diagnosis:
    """No repair of ours reaches it there."""
    diagnosis = looked_at(Held(registered=False))
    assert "nn.ModuleList" in fix_of(diagnosis)
    assert "track_running_stats" not in fix_of(diagnosis)
    assert "normscope.recalibrate(" not in fix_of(diagnosis)
    return diagnosis


def good_held_in_a_list() -> Diagnosis:
    return looked_at(Held(registered=True))


class Mixed(Held):
    """A norm in a list, one that is computed beside it, and one without statistics."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__(registered=registered)
        self.registered = registered
        self.norm = nn.BatchNorm1d(4, track_running_stats=registered)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("variance", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        by_batch = self.training or not self.registered
        x = F.batch_norm(super().forward(x), self.mean, self.variance, training=by_batch)
        return self.norm(x)


def bad_mixed() -> Diagnosis:
    """Each has another fix, and the finding says of whom."""
    diagnosis = looked_at(Mixed(registered=False))
    assert diagnosis.of("NS406")[0].evidence["layers"] == 2
    fix = fix_of(diagnosis)
    assert "'norm': Build it with track_running_stats" in fix
    assert "'the model itself': Register it" in fix
    assert "'the model itself': Call F.batch_norm" in fix
    return diagnosis


def good_mixed() -> Diagnosis:
    return looked_at(Mixed(registered=True))


def bad_eval_does_not_reach_it() -> Diagnosis:
    diagnosis = looked_at(with_norm(AlwaysTraining(8)))
    assert "train(mode)" in fix_of(diagnosis)
    return diagnosis


def good_eval_does_not_reach_it() -> Diagnosis:
    return looked_at(with_norm(nn.BatchNorm1d(8)))


class AcrossTheBatch(nn.Module):
    """Attention that takes the batch for the sequence."""

    def forward(self, x: Tensor) -> Tensor:
        return (x @ x.T).softmax(dim=1) @ x


class Noise(nn.Module):
    """Random in eval mode, on purpose."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, training=True)


class InstanceNorm(nn.Module):
    """As a style network computes it: every row by itself."""

    def forward(self, x: Tensor) -> Tensor:
        row = x.reshape(1, len(x) * 2, -1)
        return F.batch_norm(row, None, None, training=True).reshape(x.shape)


def silent_attention_across_the_batch() -> Diagnosis:
    return looked_at(with_norm(AcrossTheBatch()))


def silent_random_in_eval() -> Diagnosis:
    return looked_at(with_norm(Noise()))


def silent_instance_norm() -> Diagnosis:
    return looked_at(with_norm(InstanceNorm()))


def silent_half_precision() -> Diagnosis:
    model = with_norm(nn.BatchNorm1d(8)).bfloat16()
    return check(model, rows().bfloat16().split(32))


def silent_not_used() -> Diagnosis:
    model = small()
    model.spare = nn.BatchNorm1d(8, track_running_stats=False)
    return check(model, rows().split(32), forward=lambda m, x: m[3](m[2](m[1](m[0](x)))))
