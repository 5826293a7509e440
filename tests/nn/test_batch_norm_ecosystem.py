"""What works with torch's batch norms works with ours."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.optim.swa_utils import update_bn

from normscope.nn import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d

KINDS = [
    (BatchNorm1d, nn.BatchNorm1d, (6, 3)),
    (BatchNorm2d, nn.BatchNorm2d, (4, 3, 2, 2)),
    (BatchNorm3d, nn.BatchNorm3d, (4, 3, 2, 2, 2)),
]
CONVENTIONS = [{}, {"momentum": None}, {"running_variance": "population"}, {"warm_up": True}]


def worn(norm: nn.Module, *shape: int) -> nn.Module:
    """The layer after some training: nothing is at its initial value."""
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    for _ in range(3):
        norm(torch.randn(shape) * 2 + 1)
    return norm


@pytest.mark.parametrize(("ours", "theirs", "shape"), KINDS)
class TestTypesAndStateDicts:
    def test_is_a_torch_batch_norm(
        self, ours: type[BatchNorm], theirs: type[nn.Module], shape: tuple[int, ...]
    ) -> None:
        norm = ours(3)
        assert isinstance(norm, theirs)
        assert isinstance(norm, _BatchNorm)
        assert isinstance(norm, BatchNorm)
        others = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d} - {theirs}
        assert not isinstance(norm, tuple(others))

    @pytest.mark.parametrize("other", ["theirs", "sync"])
    def test_state_dicts_travel_both_ways(
        self, ours: type[BatchNorm], theirs: type[nn.Module], shape: tuple[int, ...], other: str
    ) -> None:
        kind = theirs if other == "theirs" else nn.SyncBatchNorm
        source, target = worn(ours(3), *shape), kind(3)
        target.load_state_dict(source.state_dict(), strict=True)
        back = ours(3)
        back.load_state_dict(target.state_dict(), strict=True)
        x = torch.randn(shape)
        assert torch.equal(source.eval()(x), target.eval()(x))
        assert torch.equal(source.eval()(x), back.eval()(x))

    def test_an_old_state_dict_without_the_counter(
        self, ours: type[BatchNorm], theirs: type[nn.Module], shape: tuple[int, ...]
    ) -> None:
        old = {k: v for k, v in worn(theirs(3), *shape).state_dict().items() if "num" not in k}
        norm = ours(3)
        norm.load_state_dict(old, strict=True)
        assert torch.equal(norm.running_var, old["running_var"])
        assert norm.num_batches_tracked == 0

    def test_to_torch_shares_and_computes_the_same_in_eval(
        self, ours: type[BatchNorm], theirs: type[nn.Module], shape: tuple[int, ...]
    ) -> None:
        norm = worn(ours(3, running_variance="population", eps=1e-3), *shape).eval()
        plain = norm.to_torch()
        assert type(plain) is theirs
        assert plain.weight is norm.weight
        assert plain.running_var is norm.running_var
        assert not plain.training
        assert torch.equal(plain(torch.ones(shape)), norm(torch.ones(shape)))

    @pytest.mark.parametrize("affine", [True, False])
    @pytest.mark.parametrize("tracks", [True, False])
    def test_to_torch_of_every_make(
        self,
        ours: type[BatchNorm],
        theirs: type[nn.Module],
        shape: tuple[int, ...],
        *,
        affine: bool,
        tracks: bool,
    ) -> None:
        plain = ours(3, affine=affine, track_running_stats=tracks).to_torch()
        expected = theirs(3, affine=affine, track_running_stats=tracks)
        assert str(plain) == str(expected)
        assert plain.state_dict().keys() == expected.state_dict().keys()
        assert not any(value.is_meta for value in plain.state_dict().values())
        assert plain(torch.randn(shape)).shape == shape


class TestCopies:
    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_copy_and_pickle_keep_the_conventions(self, convention: dict[str, object]) -> None:
        norm = worn(BatchNorm1d(3, **convention), 6, 3)
        copies = [copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))]
        x = torch.randn(6, 3)
        norm(x)
        for twin in copies:
            assert str(twin) == str(norm)
            twin(x)
            for name, value in norm.state_dict().items():
                assert torch.equal(twin.state_dict()[name], value)

    def test_the_words_show_the_conventions(self) -> None:
        words = str(BatchNorm.with_decay(4, 0.75, eps=1e-10, running_variance="population"))
        assert words.startswith("BatchNorm(4, eps=1e-10, momentum=0.25, affine=True")
        assert words.endswith("running_variance='population', warm_up=False)")

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_functional_call_moves_the_buffers_it_is_given(
        self, convention: dict[str, object]
    ) -> None:
        norm = BatchNorm1d(3, **convention)
        buffers = {name: value.clone() for name, value in norm.named_buffers()}
        state = dict(norm.named_parameters()) | buffers
        x = torch.randn(6, 3)
        torch.func.functional_call(norm, state, (x,))
        assert norm.num_batches_tracked == 0
        norm(x)
        for name, value in norm.named_buffers():
            assert torch.equal(buffers[name], value)


class TestSyncBatchNorm:
    def test_takes_everything_over_but_the_conventions(self) -> None:
        norm = worn(BatchNorm1d(3, running_variance="population", momentum=1.0), 6, 3)
        model = nn.Sequential(nn.Linear(3, 3), copy.deepcopy(norm))
        sync = nn.SyncBatchNorm.convert_sync_batchnorm(model)[1]
        assert type(sync) is nn.SyncBatchNorm
        assert (sync.momentum, sync.eps) == (norm.momentum, norm.eps)
        x = torch.randn(6, 3)
        assert torch.equal(sync.eval()(x), norm.eval()(x))
        sync.train()(x)
        torch.testing.assert_close(sync.running_var, x.var(0, correction=1))
        norm.train()(x)
        torch.testing.assert_close(norm.running_var, x.var(0, correction=0))


class TestFusion:
    def test_into_a_convolution(self) -> None:
        conv, norm = nn.Conv2d(2, 3, 3).eval(), worn(BatchNorm2d(3), 4, 3, 2, 2).eval()
        x = torch.randn(4, 2, 5, 5)
        torch.testing.assert_close(fuse_conv_bn_eval(conv, norm)(x), norm(conv(x)))

    def test_into_a_linear_layer(self) -> None:
        linear, norm = nn.Linear(2, 3).eval(), worn(BatchNorm1d(3), 6, 3).eval()
        x = torch.randn(4, 2)
        torch.testing.assert_close(fuse_linear_bn_eval(linear, norm)(x), norm(linear(x)))


class TestUpdateBn:
    @pytest.mark.parametrize(("running_variance", "correction"), [("population", 0), ("bessel", 1)])
    def test_averages_in_the_layers_convention(
        self, running_variance: str, correction: int
    ) -> None:
        model = nn.Sequential(BatchNorm1d(3, running_variance=running_variance))
        batches = torch.randn(5, 4, 3)
        update_bn(batches, model)
        expected = batches.var(1, correction=correction).mean(0)
        torch.testing.assert_close(model[0].running_var, expected)
        assert model[0].momentum == 0.1
