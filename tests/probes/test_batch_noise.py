"""What the mates in a batch do to a row."""

import numpy as np
import pytest
import torch
from torch import nn

from normscope.probes._batch_noise import BatchNoise
from tests.probes.moments import (
    batch_norm,
    convolutional,
    images,
    read,
    rows,
    small,
    step_of,
    still,
)

MANY = BatchNoise(batch_size=20, fixed=4, draws=400)


def wide(x: torch.Tensor, probe: BatchNoise = MANY) -> dict[tuple[str, str], float]:
    """The noise of a batch norm of 50 units that is the whole network."""
    network = nn.Sequential(nn.BatchNorm1d(50, eps=1e-14)).double()
    readings = read(probe, still(network, lambda n: n(x).sum()))
    return {key: float(reading.value) for key, reading in readings.items()}


def test_batch_means_vary_as_theory_says() -> None:
    """σ²(m − f)/m²; over 50 units and 400 draws the mean of the ratio has an error of 0.01."""
    noise = wide(rows(500, 50)[0])
    assert noise["0", "mean-noise"] == pytest.approx(1, abs=0.04)


def test_batch_variances_vary_as_theory_says() -> None:
    """Nearly: by a factor of about 1 + O(1/m)."""
    assert wide(rows(500, 50)[0])["0", "variance-noise"] == pytest.approx(1, abs=0.1)
    heavy = rows(500, 50)[0] ** 3  # with an excess kurtosis, of which the theory knows
    assert wide(heavy)["0", "variance-noise"] == pytest.approx(1, abs=0.15)


def test_where_the_inputs_lie_does_not_matter() -> None:
    """A batch norm takes means away: what is left to chance is the same around any point."""
    x = rows(200, 50)[0]
    assert wide(x + 30) == pytest.approx(wide(x), rel=1e-6)


def test_the_noise_of_activations_by_hand() -> None:
    """To first order (m − f)/m²·(1 + y²(κ + 2)/4), with κ of these rows and y of the fixed one."""
    m, x = 200, rows(500, 50)[0]
    y = (x - x.mean(0)) / x.std(0, correction=0)
    expected = (m - 1) / m**2 * (1 + y[0] ** 2 * ((y**4).mean(0) - 1) / 4)
    noise = wide(x, BatchNoise(batch_size=m, fixed=1, draws=400))["0", "activation-noise"]
    assert noise == pytest.approx(float(expected.mean()), rel=0.05)


def test_the_same_draws_by_another_road() -> None:
    """Batches made by hand, through torch's own batch norm."""
    x, labels = rows(30, 8)
    network = small(norm=batch_norm)
    moment = step_of(network, x, labels)
    seen = read(BatchNoise(batch_size=10, fixed=3, draws=5), moment)
    generator = torch.Generator().manual_seed(0)
    outputs, activations = [], []
    with torch.no_grad():
        for _ in range(5):
            batch = torch.cat([x[:3], x[torch.randint(30, (7,), generator=generator)]])
            activations.append(network[1](network[0](batch))[:3].numpy())
            outputs.append(network(batch)[:3].numpy())
        everything = network[1](network[0](x)).numpy()
        spread = network(x).numpy().var(0).mean()
    expected = np.var(activations, axis=0, ddof=1).mean(0) / everything.var(0)
    assert seen["1", "activation-noise"].value == pytest.approx(expected.mean())
    noise = np.var(outputs, axis=0, ddof=1).mean() / spread
    assert seen["", "output-noise"].value == pytest.approx(noise)


def test_larger_batches_are_less_noisy() -> None:
    x, labels = rows(500, 8)
    moment = step_of(small(norm=batch_norm), x, labels)
    noise = [
        read(BatchNoise(batch_size=m, fixed=4, draws=50), moment)["", "output-noise"].value
        for m in (8, 32, 128)
    ]
    assert noise[0] > 2 * noise[1] > 4 * noise[2]


def test_of_a_convolution_the_theory_is_that_of_rows() -> None:
    """Places of a row belong together: the spread is that of their means."""
    network, (x, _) = convolutional(), images(200)
    x = x + torch.randn(200, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    seen = read(MANY, still(network, lambda n: n(x).sum()))
    assert seen["1", "mean-noise"].value == pytest.approx(1, abs=0.15)  # 4 channels: 0.035


def test_dropout_is_no_noise_of_the_batch() -> None:
    x, labels = rows(50, 8)
    without = step_of(small(norm=batch_norm), x, labels)
    network = nn.Sequential(nn.Dropout(0.5), without.network)
    seen = read(MANY, still(network, lambda n: n(x).sum()))["", "output-noise"].value
    assert seen == pytest.approx(read(MANY, without)["", "output-noise"].value)


def test_there_is_nothing_to_read_without_a_batch_norm_or_rows() -> None:
    x, labels = rows(30, 8)
    assert read(BatchNoise(), step_of(small(norm=nn.LayerNorm), x, labels)) == {}

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = small(norm=batch_norm)

        def forward(self, x: torch.Tensor, *, scale: float) -> torch.Tensor:
            return self.inner(x) * scale

    assert read(BatchNoise(), still(Two(), lambda n: n(x, scale=2.0).sum())) == {}
