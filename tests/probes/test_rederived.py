"""A real run's `readings.jsonl` against plain autograd in float64, from what the run left behind.

Nothing of the probes is used: weights of the checkpoints, torch's operations, and the formulas.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from normscope.data import Dataset
from normscope.probes import ProbeObserver, read_readings
from normscope.records import Recipe
from normscope.training import train

EPS = 1e-10
BATCH, EPOCHS = 26, 2
STEPS = 5 * EPOCHS
"""Of 130 rows."""


def fan_in(weight: Tensor) -> float:
    return weight.shape[1] ** 0.5


class ByHand:
    """The article's network of the run's last checkpoint, written out."""

    def __init__(self, folder: Path, data: Dataset) -> None:
        (last,) = sorted((folder / "checkpoints").glob(f"epoch-*{EPOCHS}-step-*"))[-1:]
        state = load_file(last / "network.safetensors")
        self.learned = {
            name: value.double().requires_grad_()
            for name, value in state.items()
            if name.endswith(("linear.weight", "norm.weight", "norm.bias"))
        }
        self.running = {name: value.double() for name, value in state.items() if "running" in name}
        rows = np.sort(np.random.default_rng(0).permutation(len(data.valid))[:BATCH])
        self.x = torch.from_numpy(data.valid.images[rows]).double().flatten(1)
        self.labels = torch.from_numpy(data.valid.labels[rows])

    def loss(self, learned: dict[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """And every stage of every layer."""
        p, h, seen = learned or self.learned, self.x, {}
        for i in range(3):
            weight = p[f"layers.{i}.linear.weight"]
            z = h @ weight.T / fan_in(weight)
            variance, mean = torch.var_mean(z, 0, correction=0)
            y = p[f"layers.{i}.norm.weight"] * (z - mean) / (variance + EPS).sqrt()
            y = y + p[f"layers.{i}.norm.bias"]
            seen |= {f"z{i}": z, f"y{i}": y}
            h = y.relu()
        return F.cross_entropy(y, self.labels), seen


@pytest.fixture(scope="module")
def run(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[ByHand, dict]:
    """The network, and what was read after the very last step."""
    folder = tmp_path_factory.mktemp("run") / "it"
    recipe = Recipe(hidden=(12, 8), epochs=EPOCHS, batch_size=BATCH, eps=EPS)
    train(recipe, tiny, out=folder, observers=[ProbeObserver(tiny.valid, "all", STEPS)])
    found = {(r.probe, r.layer, r.quantity): r for r in read_readings(folder) if r.step == STEPS}
    assert not any(quantity == "failed" for _, _, quantity in found)
    return ByHand(folder, tiny), found


def close(value: float | Tensor) -> object:
    return pytest.approx(float(torch.as_tensor(value).detach()), rel=2e-3, abs=1e-5)


def test_what_layers_make_of_rows(run: tuple[ByHand, dict]) -> None:
    by_hand, read = run
    loss, seen = by_hand.loss()
    gradients = torch.autograd.grad(loss, list(seen.values()))
    g = dict(zip(seen, gradients, strict=True))
    for i in range(3):
        path, z, y = f"layers.{i}.linear", seen[f"z{i}"].detach(), seen[f"y{i}"].detach()
        dz, dy = g[f"z{i}"], g[f"y{i}"]
        assert read["depth-growth", path, "mean"].value == close(z.mean())
        assert read["depth-growth", path, "gradient"].value == close(dz.norm())
        dead = (y <= 0).all(0).double().mean()
        assert read["dead-units", path, "never-positive"].value == close(dead)
        same = (dy.sum(0).abs() / dy.abs().sum(0)).nanmean()
        assert read["input-independence", path, "normalized"].value == close(same)
        singular = torch.linalg.svdvals(z)
        rank = singular.square().sum() ** 2 / singular.pow(4).sum()
        assert read["stable-rank", path, "sums"].value == close(rank)
        band = np.percentile(y.numpy(), (15, 50, 85))
        assert read["distribution-drift", path, "normalized-band"].values == pytest.approx(
            band, rel=2e-3, abs=1e-4
        )
    growth = g["z0"].norm() / g["z1"].norm()
    assert read["depth-growth", "layers.0.linear", "gradient-growth"].value == close(growth)


def test_what_a_batch_norm_makes_of_gradients(run: tuple[ByHand, dict]) -> None:
    by_hand, read = run
    loss, seen = by_hand.loss()
    for i in range(3):
        z, gamma = seen[f"z{i}"].detach(), by_hand.learned[f"layers.{i}.norm.weight"].detach()
        dz, dy = torch.autograd.grad(loss, (seen[f"z{i}"], seen[f"y{i}"]), retain_graph=True)
        sigma, path = (z.var(0, correction=0) + EPS).sqrt(), f"layers.{i}.norm"
        rescaled = dy * gamma / sigma
        centered = rescaled - rescaled.mean(0)
        whole = rescaled.square().sum()
        taken = 1 - centered.square().sum() / whole
        assert read["gradient-identity", path, "centering"].value == close(taken)
        left = 1 - taken - dz.square().sum() / whole
        assert read["gradient-identity", path, "projection"].value == close(left)
        scale = (whole / dy.square().sum()).sqrt()
        assert read["gradient-identity", path, "scaling"].value == close(scale)
        assert read["gradient-identity", path, "residual"].value < 1e-4


def test_the_loss_around_the_weights(run: tuple[ByHand, dict]) -> None:
    by_hand, read = run
    loss, _ = by_hand.loss()
    names = list(by_hand.learned)
    gradient = torch.autograd.grad(loss, list(by_hand.learned.values()))
    w = torch.cat([value.detach().flatten() for value in by_hand.learned.values()])
    g = torch.cat([value.flatten() for value in gradient])
    unit = w.norm() / g.norm()
    assert read["safe-step", "", "unit"].value == close(unit)
    curve = read["safe-step", "", "relative-loss"].values
    lengths = 10.0 ** np.arange(-4, 0.51, 0.25)
    assert len(curve) == len(lengths)
    for at in (4, 12, 18):
        moved = {
            name: by_hand.learned[name].detach() - lengths[at] * unit * step
            for name, step in zip(names, gradient, strict=True)
        }
        assert curve[at] == pytest.approx(float((by_hand.loss(moved)[0] / loss).detach()), rel=5e-3)
    path = "layers.1.linear"
    layer = by_hand.learned[f"{path}.weight"]
    own = gradient[names.index(f"{path}.weight")]
    cosine = float((layer * own).sum().detach() / layer.detach().norm() / own.norm())
    assert read["scale-invariance", path, "cosine"].value == pytest.approx(cosine, abs=1e-4)
    doubled = by_hand.learned | {f"{path}.weight": 2 * layer}
    change = abs(float((by_hand.loss(doubled)[0] / loss).detach()) - 1)
    assert read["scale-invariance", path, "loss-change"].value == pytest.approx(change, abs=1e-5)


@pytest.mark.slow
def test_the_sharpest_direction(run: tuple[ByHand, dict]) -> None:
    by_hand, read = run
    loss, _ = by_hand.loss()
    leaves = list(by_hand.learned.values())
    slopes = torch.autograd.grad(loss, leaves, create_graph=True)
    flat = torch.cat([part.flatten() for part in slopes])
    every = torch.eye(len(flat), dtype=flat.dtype)
    rows = torch.autograd.grad(flat, leaves, every, is_grads_batched=True)
    hessian = torch.cat([part.flatten(1) for part in rows], dim=1)
    eigenvalues = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
    value = read["sharpness", "", "eigenvalue"].value
    nearest = float((eigenvalues - value).abs().min())
    assert nearest <= read["sharpness", "", "residual"].value * abs(value) + 1e-3 * abs(value)
    assert abs(value) <= float(eigenvalues.abs().max()) * 1.001


def test_what_running_statistics_are_off_by(run: tuple[ByHand, dict]) -> None:
    by_hand, read = run
    _, seen = by_hand.loss()
    z, path = seen["z0"].detach(), "layers.0.norm"
    variance, mean = torch.var_mean(z, 0, correction=1)
    off = (by_hand.running[f"{path}.running_mean"] - mean).abs() / variance.sqrt()
    assert read["statistics-gap", path, "mean-distance"].value == close(off.mean())
