"""BatchNorm computes Algorithm 1, tracks what it says, and is torch's to the bit by default."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from normscope.nn import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from normscope.nn._batch_norm import RunningVariance
from normscope.stats import moments
from tests.oracles.batch_norm import normalized_by_hand, running_by_hand

PAIRS = [
    (BatchNorm1d, nn.BatchNorm1d, (7, 3)),
    (BatchNorm1d, nn.BatchNorm1d, (5, 3, 6)),
    (BatchNorm2d, nn.BatchNorm2d, (4, 3, 5, 2)),
    (BatchNorm3d, nn.BatchNorm3d, (2, 3, 4, 2, 3)),
    (BatchNorm, nn.BatchNorm1d, (7, 3)),
    (BatchNorm, nn.BatchNorm2d, (4, 3, 5, 2)),
]
CONVENTIONS = [
    {"running_variance": running_variance, "momentum": momentum, "warm_up": warm_up}
    for running_variance, (momentum, warm_up) in itertools.product(
        ["bessel", "population"], [(0.1, False), (0.01, False), (0.01, True), (None, False)]
    )
]


def assert_same_bits(ours: nn.Module, theirs: nn.Module) -> None:
    """Parameters, their gradients and buffers agree to the last bit."""
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    for (name, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (mine.grad is None) == (its.grad is None), name
        assert mine.grad is None or torch.equal(mine.grad, its.grad), name


def step(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and gradient of the input, of a loss that is not linear."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = module(x)
    if y.requires_grad:
        (y * y.detach().cos() + y.square() / 3).sum().backward()
    return y.detach(), torch.zeros(()) if x.grad is None else x.grad


class TestTorchByDefault:
    @pytest.mark.parametrize("affine", [True, False])
    @pytest.mark.parametrize("tracks", [True, False])
    @pytest.mark.parametrize(("ours", "theirs", "shape"), PAIRS)
    def test_forward_backward_and_buffers(
        self,
        ours: type[BatchNorm],
        theirs: type[nn.Module],
        shape: tuple[int, ...],
        *,
        affine: bool,
        tracks: bool,
    ) -> None:
        mine = ours(3, affine=affine, track_running_stats=tracks)
        its = theirs(3, affine=affine, track_running_stats=tracks)
        for training in (True, True, True, False):
            mine.train(training)
            its.train(training)
            x = torch.randn(shape) * 3 + 5
            for a, b in zip(step(mine, x), step(its, x), strict=True):
                assert torch.equal(a, b)
        assert_same_bits(mine, its)

    @pytest.mark.parametrize("options", [{"momentum": 0.0}, {"momentum": 1.0}, {"eps": 1e-10}])
    def test_other_numbers(self, options: dict[str, float]) -> None:
        mine, its = BatchNorm1d(3, **options), nn.BatchNorm1d(3, **options)
        for _ in range(3):
            x = torch.randn(6, 3)
            assert torch.equal(mine(x), its(x))
        assert_same_bits(mine, its)

    @pytest.mark.parametrize("flag", [True, False])
    @pytest.mark.parametrize("training", [True, False])
    def test_a_flag_that_was_flipped_after_construction(
        self, *, flag: bool, training: bool
    ) -> None:
        mine = BatchNorm1d(3, track_running_stats=not flag).train(training)
        its = nn.BatchNorm1d(3, track_running_stats=not flag).train(training)
        mine.track_running_stats = its.track_running_stats = flag
        x = torch.randn(6, 3)
        assert torch.equal(mine(x), its(x))
        assert_same_bits(mine, its)

    def test_the_cumulative_average_to_rounding(self) -> None:
        mine, its = BatchNorm1d(3, momentum=None), nn.BatchNorm1d(3, momentum=None)
        for _ in range(20):
            x = torch.randn(6, 3)
            assert torch.equal(mine(x), its(x))
        torch.testing.assert_close(mine.running_mean, its.running_mean)
        torch.testing.assert_close(mine.running_var, its.running_var)
        assert mine.num_batches_tracked == 20

    def test_without_a_counter(self) -> None:
        for options in ({}, {"momentum": None}, {"running_variance": "population"}):
            mine, its = BatchNorm1d(3, **options), nn.BatchNorm1d(3)
            its.momentum = mine.momentum
            mine.num_batches_tracked = its.num_batches_tracked = None
            x = torch.randn(6, 3)
            assert torch.equal(mine(x), its(x))
            torch.testing.assert_close(mine.running_mean, its.running_mean)

    def test_population_is_not_torchs(self) -> None:
        """The control: the comparison above sees a convention that differs."""
        mine, its = BatchNorm1d(3, running_variance="population"), nn.BatchNorm1d(3)
        x = torch.randn(6, 3)
        assert torch.equal(mine(x), its(x))
        assert not torch.allclose(mine.running_var, its.running_var)


class TestAlgorithm1:
    @settings(deadline=None, max_examples=60)
    @given(
        shape=st.lists(st.integers(1, 4), max_size=3),
        rows=st.integers(2, 9),
        offset=st.sampled_from([0.0, -3.0, 1e4]),
        eps=st.sampled_from([1e-10, 1e-5, 1e-1]),
        seed=st.integers(0, 10_000),
    )
    def test_forward(
        self, shape: list[int], rows: int, offset: float, eps: float, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        x = random.normal(offset, 1, size=(rows, 3, *shape))
        norm = BatchNorm(3, eps=eps, dtype=torch.float64)
        gamma, beta = random.normal(size=3), random.normal(size=3)
        with torch.no_grad():
            norm.weight.copy_(torch.from_numpy(gamma))
            norm.bias.copy_(torch.from_numpy(beta))
        y = norm(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(y, normalized_by_hand(x, gamma, beta, eps), atol=1e-7)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    @pytest.mark.parametrize("shape", [(3,), (3, 4), (3, 2, 5)])
    def test_running_statistics(
        self, convention: dict[str, object], shape: tuple[int, ...]
    ) -> None:
        random = np.random.default_rng(0)
        batches = [random.normal(7, 2, size=(rows, *shape)) for rows in (2, 9, 4, 16, 3) * 5]
        norm = BatchNorm(3, dtype=torch.float64, **convention)
        for x in batches:
            norm(torch.from_numpy(x))
        mean, variance = running_by_hand(batches, **convention)
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(norm.running_var, variance, rtol=1e-12)
        assert norm.num_batches_tracked == len(batches)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_every_other_convention_gives_other_statistics(
        self, convention: dict[str, object]
    ) -> None:
        """The control of the test above: it would notice a convention mistaken for another."""
        random = np.random.default_rng(0)
        batches = [random.normal(7, 2, size=(rows, 3)) for rows in (2, 9, 4, 16, 3)]
        own = running_by_hand(batches, **convention)
        for other in CONVENTIONS:
            if other != convention:
                assert not np.allclose(own[1], running_by_hand(batches, **other)[1], rtol=1e-3)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_running_statistics_in_float32_far_from_zero(
        self, convention: dict[str, object]
    ) -> None:
        random = np.random.default_rng(0)
        batches = [random.normal(1e4, 1, size=(120, 3)).astype(np.float32) for _ in range(30)]
        norm = BatchNorm(3, **convention)
        for x in batches:
            norm(torch.from_numpy(x))
        mean, variance = running_by_hand([x.astype(float) for x in batches], **convention)
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-6)
        np.testing.assert_allclose(norm.running_var, variance, rtol=1e-4)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_gradients(self, convention: dict[str, object]) -> None:
        norm = BatchNorm(3, dtype=torch.float64, **convention)
        x = torch.randn(5, 3, 2, dtype=torch.float64, requires_grad=True)

        def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
            parameters = {"weight": weight, "bias": bias}
            return torch.func.functional_call(norm, parameters, (x,))

        assert torch.autograd.gradcheck(forward, (x, norm.weight, norm.bias))
        norm.eval()
        assert torch.autograd.gradcheck(forward, (x, norm.weight, norm.bias))

    def test_conventions_share_their_output_bits(self) -> None:
        x = torch.randn(6, 3, 4)
        outputs = [BatchNorm(3, **convention)(x) for convention in CONVENTIONS]
        assert all(torch.equal(outputs[0], output) for output in outputs)


class TestIdentities:
    """What follows from the formula, whatever the code."""

    def test_eval_applies_the_running_statistics(self) -> None:
        norm = BatchNorm.with_decay(3, 0.0, running_variance="population", dtype=torch.float64)
        x = torch.randn(8, 3, dtype=torch.float64)
        trained = norm(x)
        torch.testing.assert_close(norm.eval()(x), trained)

    def test_that_holds_for_the_population_variance_only(self) -> None:
        norm = BatchNorm.with_decay(3, 0.0, running_variance="bessel", dtype=torch.float64)
        x = torch.randn(8, 3, dtype=torch.float64)
        trained = norm(x)
        torch.testing.assert_close(norm.eval()(x) * (8 / 7) ** 0.5, trained, rtol=1e-4, atol=0)

    def test_shift_and_scale_of_the_input_cancel(self) -> None:
        norm = BatchNorm(3, eps=1e-12, dtype=torch.float64)
        x = torch.randn(8, 3, dtype=torch.float64)
        torch.testing.assert_close(norm(5 * x - 3), norm(x))
        with pytest.raises(AssertionError):
            torch.testing.assert_close(norm(-5 * x), norm(x))

    def test_a_constant_channel_becomes_beta(self) -> None:
        norm = BatchNorm(3, eps=1e-10)
        with torch.no_grad():
            norm.bias.fill_(0.5)
        assert torch.equal(norm(torch.full((4, 3), 2.0)), torch.full((4, 3), 0.5))

    def test_the_first_warmed_up_batch_weighs_nine_tenths(self) -> None:
        norm = BatchNorm(3, momentum=0.01, warm_up=True)
        x = torch.randn(8, 3)
        norm(x)
        torch.testing.assert_close(norm.running_mean, 0.9 * x.mean(0))

    def test_momentum_none_wins_over_warm_up_when_set_later(self) -> None:
        """As `torch.optim.swa_utils.update_bn` sets it."""
        norm = BatchNorm(3, warm_up=True)
        norm.momentum = None
        batches = torch.randn(5, 8, 3)
        for x in batches:
            norm(x)
        torch.testing.assert_close(norm.running_mean, batches.mean((0, 1)))


class TestInputsOfEveryKind:
    @pytest.mark.parametrize("running_variance", ["bessel", "population"])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_input_leaves_statistics_in_float32(
        self, dtype: torch.dtype, running_variance: RunningVariance
    ) -> None:
        norm, its = BatchNorm1d(3, running_variance=running_variance), nn.BatchNorm1d(3)
        x = (torch.randn(50, 3) + 4).to(dtype)
        y = norm(x)
        assert y.dtype == dtype
        assert torch.equal(y, its(x))
        wide = [x.double().numpy()]
        mean, variance = running_by_hand(wide, 0.1, running_variance, warm_up=False)
        assert norm.running_mean.dtype == norm.running_var.dtype == torch.float32
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(norm.running_var, variance, rtol=1e-5)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_autocast(self, convention: dict[str, object]) -> None:
        model = nn.Sequential(nn.Linear(4, 3), BatchNorm1d(3, **convention))
        x = torch.randn(8, 4)
        with torch.autocast("cpu", torch.bfloat16):
            y = model(x)
            z = model[0](x)
        assert z.dtype == y.dtype == torch.bfloat16
        y.float().sum().backward()
        assert model[1].weight.grad.dtype == torch.float32
        wide = [z.detach().double().numpy()]
        mean, variance = running_by_hand(wide, **convention)
        np.testing.assert_allclose(model[1].running_mean, mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model[1].running_var, variance, rtol=1e-4)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_memory_layouts(self, convention: dict[str, object]) -> None:
        x = torch.randn(4, 3, 6, 6)
        strided = torch.randn(4, 6, 12, 3).permute(0, 3, 1, 2)[..., ::2]
        for other in (x.contiguous(memory_format=torch.channels_last), strided):
            norm, reference = BatchNorm2d(3, **convention), BatchNorm2d(3, **convention)
            its = nn.BatchNorm2d(3)
            y, gradient = step(norm, other)
            expected, expected_gradient = step(its, other)
            assert torch.equal(y, expected)
            assert y.stride() == expected.stride()
            assert torch.equal(gradient, expected_gradient)
            step(reference, other.contiguous())
            torch.testing.assert_close(norm.running_var, reference.running_var)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_an_empty_batch_leaves_the_statistics(self, convention: dict[str, object]) -> None:
        norm = BatchNorm1d(3, **convention)
        x = torch.randn(6, 3)
        norm(x)
        before = norm.running_mean.clone(), norm.running_var.clone()
        assert norm(torch.empty(0, 3)).shape == (0, 3)
        assert norm.eval()(torch.empty(0, 3)).shape == (0, 3)
        assert torch.equal(norm.running_mean, before[0])
        assert torch.equal(norm.running_var, before[1])

    def test_an_empty_batch_is_not_counted_where_the_count_is_used(self) -> None:
        norm = BatchNorm1d(3, momentum=None)
        batches = torch.randn(6, 3), torch.empty(0, 3), torch.randn(6, 3)
        for x in batches:
            norm(x)
        torch.testing.assert_close(norm.running_mean, torch.cat(batches).mean(0))

    @pytest.mark.parametrize("convention", CONVENTIONS)
    @pytest.mark.parametrize("poison", [torch.nan, torch.inf])
    def test_what_is_not_finite_stays_in_its_channel(
        self, convention: dict[str, object], poison: float
    ) -> None:
        norm = BatchNorm1d(3, **convention)
        x = torch.randn(6, 3)
        x[2, 1] = poison
        norm(x)
        norm(torch.randn(6, 3))
        assert norm.running_var.isfinite().tolist() == [True, False, True]

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_buffers_stay_the_same_objects(self, convention: dict[str, object]) -> None:
        norm = BatchNorm1d(3, **convention)
        before = [buffer.data_ptr() for buffer in norm.buffers()]
        norm(torch.randn(6, 3))
        assert [buffer.data_ptr() for buffer in norm.buffers()] == before

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_two_forwards_before_one_backward(self, convention: dict[str, object]) -> None:
        norm = BatchNorm1d(3, **convention)
        (norm(torch.randn(6, 3)) * norm(torch.randn(6, 3))).sum().backward()
        assert norm.num_batches_tracked == 2


def test_the_kernel_is_as_imprecise_on_a_whole_data_set_as_the_docstring_says() -> None:
    """And our own moments are not: they are what population statistics are made of."""
    x = torch.randn(100_000, 1) + 1e4
    layer = BatchNorm(1, momentum=1.0)
    layer(x)
    assert layer.running_var is not None
    assert 25 < layer.running_var.item() < 100
    assert abs(moments(x, [0])[1].item() - 1) < 0.05
