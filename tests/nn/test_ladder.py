"""The rungs between batch norm and none, against NumPy in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normscope import InputError
from normscope._errors import BatchTooSmallError
from normscope.nn import (
    MLP,
    BatchNorm,
    CalibratedNorm,
    DetachedBatchNorm,
    GhostBatchNorm,
    NoisyBatchNorm,
    PartialBatchNorm,
    set_population_statistics,
)

EPS = 1e-3
ROWS, CHANNELS = 12, 5
GENERATOR = np.random.default_rng(7)
X = GENERATOR.normal(2, 3, size=(ROWS, CHANNELS))
BY_Y = GENERATOR.normal(size=(ROWS, CHANNELS))
GAMMA, BETA = GENERATOR.normal(1, 0.3, size=CHANNELS), GENERATOR.normal(size=CHANNELS)


def of_batch_norm(x: np.ndarray, by_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Output and gradient (Ioffe & Szegedy 2015, section 3)."""
    deviation = np.sqrt(x.var(0) + EPS)
    z = (x - x.mean(0)) / deviation
    by_z = GAMMA * by_y
    by_x = (by_z - by_z.mean(0) - z * (by_z * z).mean(0)) / deviation
    return GAMMA * z + BETA, by_x


def detached(x: np.ndarray, by_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return of_batch_norm(x, by_y)[0], GAMMA * by_y / np.sqrt(x.var(0) + EPS)


def ghosts(x: np.ndarray, by_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    parts = [of_batch_norm(x[rows], by_y[rows]) for rows in (slice(0, 5), slice(5, 12))]
    return np.concatenate([y for y, _ in parts]), np.concatenate([g for _, g in parts])


def mean_only(x: np.ndarray, by_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return GAMMA * (x - x.mean(0)) + BETA, GAMMA * (by_y - by_y.mean(0))


def variance_only(x: np.ndarray, by_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    deviation, centred = np.sqrt(x.var(0) + EPS), x - x.mean(0)
    by_variance = -0.5 * (by_y * x).sum(0) * GAMMA / deviation**3
    return GAMMA * x / deviation + BETA, GAMMA * by_y / deviation + by_variance * 2 * centred / ROWS


Oracle = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
RUNGS: dict[str, tuple[nn.Module, Oracle]] = {
    "detached": (DetachedBatchNorm(CHANNELS, EPS), detached),
    "ghost": (GhostBatchNorm(CHANNELS, ghost_size=5, eps=EPS), ghosts),
    "mean": (PartialBatchNorm(CHANNELS, "mean", EPS), mean_only),
    "variance": (PartialBatchNorm(CHANNELS, "variance", EPS), variance_only),
    "calibrated": (CalibratedNorm(CHANNELS, EPS), detached),
}


def ready(norm: nn.Module) -> nn.Module:
    """In float64, with gamma and beta that are not 1 and 0."""
    norm = norm.double().train()
    with torch.no_grad():
        norm.get_parameter("weight").copy_(torch.from_numpy(GAMMA))
        norm.get_parameter("bias").copy_(torch.from_numpy(BETA))
    return norm


def forward_and_gradient(norm: nn.Module, x: np.ndarray = X) -> tuple[Tensor, Tensor]:
    given = torch.from_numpy(x).requires_grad_()
    y = norm(given)
    (by_x,) = torch.autograd.grad(y, given, torch.from_numpy(BY_Y))
    return y.detach(), by_x


@pytest.mark.parametrize("name", RUNGS)
def test_forward_and_gradient_are_the_formulas(name: str) -> None:
    norm, oracle = RUNGS[name]
    y, by_x = forward_and_gradient(ready(norm))
    expected, expected_by_x = oracle(X, BY_Y)
    np.testing.assert_allclose(y, expected, rtol=1e-10)
    np.testing.assert_allclose(by_x, expected_by_x, rtol=1e-9, atol=1e-12)
    of_batch, by_x_of_batch = of_batch_norm(X, BY_Y)
    same_forward = name in {"detached", "calibrated"}  # on its first batch
    assert np.allclose(y, of_batch) == same_forward
    assert not np.allclose(by_x, by_x_of_batch, rtol=1e-3), "the control: another gradient"


@pytest.mark.parametrize("convention", ["bessel", "population"])
@pytest.mark.parametrize("kind", ["detached", "noisy", "mean", "variance"])
def test_running_statistics_are_batch_norms(kind: str, convention: str) -> None:
    options = {"momentum": 0.3, "running_variance": convention}
    norm = {
        "detached": lambda: DetachedBatchNorm(CHANNELS, **options),
        "noisy": lambda: NoisyBatchNorm(CHANNELS, **options),
        "mean": lambda: PartialBatchNorm(CHANNELS, "mean", **options),
        "variance": lambda: PartialBatchNorm(CHANNELS, "variance", **options),
    }[kind]().double()
    usual = BatchNorm(CHANNELS, **options).double()
    for batch in torch.randn(4, 6, CHANNELS, dtype=torch.float64) + 3:
        norm(batch)
        usual(batch)
    assert norm.state_dict().keys() == usual.state_dict().keys()
    for name, expected in usual.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], expected, rtol=1e-12, atol=0)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm.eval()(torch.randn(6, CHANNELS, dtype=torch.float64))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("kind", [NoisyBatchNorm, DetachedBatchNorm])
def test_in_eval_they_are_batch_norm(kind: type[BatchNorm]) -> None:
    norm, usual = kind(CHANNELS), BatchNorm(CHANNELS).eval()
    norm(torch.randn(9, CHANNELS))
    usual.load_state_dict(norm.eval().state_dict())
    x = torch.randn(9, CHANNELS)
    assert torch.equal(norm(x), usual(x))
    assert not torch.equal(norm.train()(x), usual(x)), "the control"


def test_half_a_batch_norm_uses_half_of_the_running_statistics() -> None:
    x = torch.from_numpy(X)
    for only, expected in (("mean", X - 2), ("variance", X / np.sqrt(4 + EPS))):
        norm = PartialBatchNorm(CHANNELS, only, EPS).double().eval()
        norm.running_mean.fill_(2)
        norm.running_var.fill_(4)
        np.testing.assert_allclose(norm(x).detach(), expected, rtol=1e-12)


def test_noise_is_drawn_anew_for_every_step_and_unit_around_what_the_step_has_drawn() -> None:
    norm = NoisyBatchNorm(2000)
    x = torch.randn(50, 2000)
    usual = BatchNorm(2000)(x)
    made = torch.stack([norm(x).detach() for _ in range(2)])
    centred = usual - usual.mean(0)
    # Regressed on what batch norm gives: scale and shift of each unit, with the noise in a batch.
    scale = (made * centred).mean(1) / centred.square().mean(0)
    shift = made.mean(1)
    within = 0.1 / 50**0.5
    assert abs(scale.mean() - 1.125) < 0.01
    assert scale.min() > 1 - 8 * within
    assert scale.max() < 1.25 + 8 * within
    assert abs(shift.mean()) < 0.02
    assert abs(shift.abs().max() - 0.5) < 8 * within
    assert abs(shift.std() - 1 / 12**0.5) < 0.01, "uniform, from -0.5 to 0.5"
    assert np.corrcoef(shift.numpy())[0, 1] < 0.1, "another in every step"
    rest = made - shift[:, None] - scale[:, None] * centred
    expected = 0.1**2 / 3 + 0.1**2  # U(-0.1, 0.1), and N(0, 0.1²) times what has variance 1
    assert abs(rest.var() / expected - 1) < 0.1


def test_noise_is_a_function_of_torchs_random_state_and_has_no_gradient_of_its_own() -> None:
    norm = ready(NoisyBatchNorm(CHANNELS, EPS))
    torch.manual_seed(3)
    y, by_x = forward_and_gradient(norm)
    torch.manual_seed(3)
    again, _ = forward_and_gradient(norm)
    assert torch.equal(y, again)
    assert not torch.equal(y, forward_and_gradient(norm)[0])
    # y' = s y + m, so the gradient is batch norm's of s by_y; a larger beta shows s.
    torch.manual_seed(3)
    with torch.no_grad():
        norm.bias.add_(1)
    scale = (norm(torch.from_numpy(X)).detach() - y).numpy()
    np.testing.assert_allclose(by_x, of_batch_norm(X, BY_Y * scale)[1], rtol=1e-8, atol=1e-12)


def test_a_ghost_of_all_rows_has_the_bits_of_batch_norm() -> None:
    x = torch.randn(8, CHANNELS)
    norms = [
        GhostBatchNorm(CHANNELS, ghost_size=8), BatchNorm(CHANNELS),
        GhostBatchNorm(CHANNELS, ghost_size=4),
    ]  # fmt: skip
    whole, usual, halves = [norm(x) for norm in norms]
    assert torch.equal(whole, usual)
    assert not torch.equal(halves, usual), "the control"
    for name, expected in norms[1].state_dict().items():
        assert torch.equal(norms[0].state_dict()[name], expected)


def test_ghosts_track_the_mean_of_their_statistics() -> None:
    norm = GhostBatchNorm(CHANNELS, ghost_size=4, momentum=1.0, running_variance="population")
    norm = norm.double()
    norm(torch.from_numpy(X))
    parts = X.reshape(3, 4, CHANNELS)
    np.testing.assert_allclose(norm.running_mean, X.mean(0), rtol=1e-12)
    np.testing.assert_allclose(norm.running_var, parts.var(1).mean(0), rtol=1e-12)
    assert norm.num_batches_tracked == 1


def test_ghosts_of_images_are_parts_of_the_batch() -> None:
    images = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    norm = GhostBatchNorm(3, ghost_size=3).double()
    parts = [BatchNorm(3).double()(part) for part in images.split(3)]
    torch.testing.assert_close(norm(images), torch.cat(parts))


def test_calibration_is_of_the_first_batch_alone_and_layer_after_layer() -> None:
    network = MLP([6, 5, 4], norm=CalibratedNorm, seed=1).double()
    first, later = torch.randn(2, 40, 6, dtype=torch.float64) * 3 + 1
    s3 = network(first)
    np.testing.assert_allclose(s3.mean(0).detach(), 0, atol=1e-12)
    np.testing.assert_allclose(s3.var(0, correction=0).detach(), 1, rtol=1e-3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    made = network(later)
    assert abs(made.mean(0)).max() > 0.01, "the control: it does not normalize"
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(network.eval()(later), made)
    torch.testing.assert_close(network(later[:1]), made[:1])


def test_a_calibration_is_loaded_and_not_taken_again() -> None:
    norm, other = CalibratedNorm(CHANNELS), CalibratedNorm(CHANNELS)
    norm(torch.randn(9, CHANNELS) + 5)
    other.load_state_dict(norm.state_dict())
    x = torch.randn(9, CHANNELS)
    assert torch.equal(other.train()(x), norm(x))


def test_two_forwards_before_a_backward_are_no_trouble() -> None:
    x = torch.randn(2, 9, CHANNELS)
    for norm in (CalibratedNorm(CHANNELS), PartialBatchNorm(CHANNELS, "variance")):
        (norm(x[0]).square().sum() + norm(x[1]).square().sum()).backward()
        assert norm.weight.grad.isfinite().all()


@pytest.mark.parametrize("name", RUNGS)
def test_a_recomputed_forward_changes_no_buffer(name: str) -> None:
    norm = ready(RUNGS[name][0])
    x = torch.from_numpy(X).requires_grad_()
    y = checkpoint(norm, x, use_reentrant=False)
    before = {key: value.clone() for key, value in norm.named_buffers()}
    y.sum().backward()
    assert all(torch.equal(value, before[key]) for key, value in norm.named_buffers())


@pytest.mark.parametrize("only", ["mean", "variance"])
def test_population_statistics_of_half_batch_norms_are_exact(only: str) -> None:
    network = MLP([6, 5, 4], norm=lambda n: PartialBatchNorm(n, only), seed=1).double()
    images = torch.randn(300, 6, dtype=torch.float64) + 2
    set_population_statistics(network, images)
    x = images
    for layer in network.normalized_layers():
        s1 = layer.linear(x)
        torch.testing.assert_close(layer.norm.running_mean, s1.mean(0))
        torch.testing.assert_close(layer.norm.running_var, s1.var(0, correction=0))
        x = layer.norm(s1).relu()


@pytest.mark.parametrize("name", RUNGS)
def test_one_row_and_wrong_channels_are_refused(name: str) -> None:
    norm = ready(RUNGS[name][0])
    with pytest.raises(BatchTooSmallError, match="which has no variance"):
        norm(torch.ones(1, CHANNELS, dtype=torch.float64))
    with pytest.raises(InputError, match=f"needs {CHANNELS} channels"):
        norm(torch.ones(20, CHANNELS + 1, dtype=torch.float64))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(InputError, match="ghost_size is 1"):
        GhostBatchNorm(3, ghost_size=1)
    with pytest.raises(Exception, match="only"):
        PartialBatchNorm(3, "median")
