"""Models whose tensors refuse what most take: they are checked, with what can be seen of them."""

import pytest
import torch
from torch import Tensor, nn

from normscope.doctor import check
from tests.doctor.cases.ns701_unsafe_fold import ERROR, MAPS, Head
from tests.doctor.networks import rows, small


class Sparse(nn.Module):
    """A linear map by a sparse matrix, before a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(4, 4, bias=False)
        self.map.weight = nn.Parameter(torch.eye(4).to_sparse(), requires_grad=False)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.sparse.mm(self.map.weight, x.T).T)


def test_sparse_weights_are_passed_over() -> None:
    assert check(Sparse(), [rows()]).of("NS203")


class Cloud:
    """Points, as libraries for sparse convolutions hold them: no tensor."""

    def __init__(self, features: Tensor) -> None:
        self.features = features


class CloudNorm(nn.BatchNorm1d):
    """A batch norm that takes clouds, as torchsparse has it."""

    def forward(self, x: Cloud) -> Cloud:  # type: ignore[override]
        return Cloud(super().forward(x.features))


class OfClouds(nn.Module):
    """Ends in a batch norm of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = CloudNorm(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(Cloud(x)).features


def test_a_norm_that_takes_no_tensor_is_called_as_always() -> None:
    model = OfClouds()
    assert "NS302" in check(model, [rows()]).silent
    model.norm.running_mean[0] = torch.nan
    assert check(model, [rows()]).of("NS302")


class ComplexNorm(nn.BatchNorm1d):
    """Normalizes the real part."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.complex(super().forward(x.real), x.imag)


def test_complex_numbers_have_no_moments() -> None:
    """And no warning that imaginary parts are dropped."""
    model = nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64), ComplexNorm(4))
    diagnosis = check(model, [torch.complex(rows(), rows(seed=1))])
    assert "NS403" in diagnosis.silent


class Padded(nn.Module):
    """A transformer encoder with a padding mask, which in eval mode packs its rows."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = small()

    def forward(self, x: Tensor) -> Tensor:
        padding = torch.arange(x.shape[1]) >= torch.arange(2, 2 + len(x))[:, None]
        answers: Tensor = self.head(self.encoder(x, src_key_padding_mask=padding)[:, 0, :4])
        return answers


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_go_by() -> None:
    batches = [rows(6 * 7, 8, seed=seed).reshape(6, 7, 8) for seed in range(3)]
    model, nested = Padded().eval(), []
    norm = model.encoder.layers[0].norm1
    norm.register_forward_pre_hook(lambda _, given: nested.append(given[0].is_nested))
    assert check(model, batches).conditions["batches"] == 3
    assert any(nested)


def test_the_fold_of_a_model_with_one_number_per_row_is_measured() -> None:
    model = nn.Sequential(Head(shared=True), nn.Flatten(), nn.Linear(10, 1), nn.Flatten(0)).eval()
    (finding,) = check(model, MAPS).of("NS701")
    assert float(finding.evidence[ERROR]) > 0.01
