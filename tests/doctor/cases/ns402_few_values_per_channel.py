"""Last batches of one row, branches that pool first, small batches."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from normscope.doctor import check
from normscope.records import Diagnosis
from tests.doctor.networks import rows, small


class Pyramid(nn.Module):
    """A segmentation head with a branch that pools the whole picture."""

    def __init__(self, *, normalized: bool) -> None:
        super().__init__()
        self.local = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        norm: nn.Module = nn.BatchNorm2d(4) if normalized else nn.GroupNorm(1, 4)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.local(x) + self.pooled(x)


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def loader(count: int, *, drop: bool = False) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(rows(count)), 32, drop_last=drop)


def bad_last_batch_not_looked_at() -> Diagnosis:
    return check(small(), loader(97), most_batches=2)


def good_last_batch_not_looked_at() -> Diagnosis:
    return check(small(), loader(97, drop=True), most_batches=2)


def bad_last_batch_seen() -> Diagnosis:
    return check(small(), rows(65).split(32))


def good_last_batch_seen() -> Diagnosis:
    return check(small(), rows(64).split(32))


def bad_pooled_branch() -> Diagnosis:
    return check(Pyramid(normalized=True), pictures(4).split(1))


def good_pooled_branch() -> Diagnosis:
    return check(Pyramid(normalized=False), pictures(4).split(1))


def bad_micro_batches() -> Diagnosis:
    """Gradients of four batches of four are accumulated."""
    return check(small(), rows(64).split(4))


def good_micro_batches() -> Diagnosis:
    return check(small(), rows(64).split(16))


def of_one_process(count: int) -> Diagnosis:
    data = TensorDataset(rows(count))
    sampler = DistributedSampler(data, num_replicas=4, rank=0)
    return check(small(), DataLoader(data, 32, sampler=sampler), most_batches=1)


def bad_part_of_a_process() -> Diagnosis:
    """Of 388 rows, each of four processes gets 97."""
    return of_one_process(388)


def good_part_of_a_process() -> Diagnosis:
    """Of 385 rows each gets 97 too: the sampler fills up. Of 380, each gets 95."""
    return of_one_process(380)


def bad_graphs() -> Diagnosis:
    """A batch has as many values as its graphs have nodes."""
    return check(small(), rows(52).split([9, 3, 20, 6, 14]))


def good_graphs() -> Diagnosis:
    return check(small(), rows(150).split([30, 23, 40, 32, 25]))


def silent_large_maps_one_at_a_time() -> Diagnosis:
    return check(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), pictures(6).split(1))


def silent_frozen() -> Diagnosis:
    model = small()
    model[1].eval()
    return check(model, rows(13).split(4))


def silent_evaluation_row_by_row() -> Diagnosis:
    return check(small().eval(), rows(8).split(1))


def silent_a_small_last_batch() -> Diagnosis:
    return check(small(), rows(131).split(32))


def silent_one_small_batch() -> Diagnosis:
    """Nothing can be measured of a noise in one batch."""
    return check(small(), [rows(8)])
