"""One training step, side by side: us, PyTorch as people write it, and the floor. `./dev bench`.

The *floor* is what no step can do without: the matrix products of the article's network, forward
and both backward, into buffers that are made once, and one fused pass of Adam over all parameters.
It computes nothing useful; every time is printed as a ratio to it.

All contestants run in turn within one process, step by step, so that a machine whose speed drifts
drifts for all; ratios are taken pair by pair and their median is printed. One thread unless
``--threads`` says otherwise: with two, a busy neighbour process makes every step spin at a barrier.
Raw samples go to a JSON file beside the table.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from normscope.records import Recipe
from normscope.training import build_network
from normscope.training._network import build_optimizer
from normscope.training._steps import AutogradStep, make_step

ROWS, INPUTS, CLASSES = 12_000, 784, 10
Contestant = Callable[[], object]


def floor(recipe: Recipe) -> Contestant:
    """The matrix products and the update, and nothing else."""
    widths = [INPUTS, *recipe.hidden, CLASSES]
    shapes = list(zip(widths[1:], widths, strict=False))
    weights = [torch.randn(shape) for shape in shapes]
    inputs = [torch.randn(recipe.batch_size, columns) for _, columns in shapes]
    outputs = [torch.randn(recipe.batch_size, rows) for rows, _ in shapes]
    by_inputs, by_weights = map(torch.empty_like, inputs), map(torch.empty_like, weights)
    layers = list(zip(weights, inputs, outputs, by_inputs, by_weights, strict=True))
    count = sum(parameter.numel() for parameter in _network(recipe).parameters())
    flat, gradient, first, second = (torch.zeros(count) for _ in range(4))
    step = torch.zeros(())

    def run() -> None:
        for weight, x, s, _, _ in layers:
            torch.mm(x, weight.t(), out=s)
        for index, (weight, x, s, by_x, by_weight) in enumerate(layers):
            torch.mm(s.t(), x, out=by_weight)
            if index > 0:
                torch.mm(s, weight, out=by_x)
        step.add_(1)
        torch._fused_adam_(
            [flat], [gradient], [first], [second], [], [step],
            lr=recipe.learning_rate, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8,
            amsgrad=False, maximize=False,
        )  # fmt: skip

    return run


def ours(recipe: Recipe, images: Tensor, labels: Tensor) -> Contestant:
    """The step that `normscope train` makes, batches gathered as it gathers them."""
    network = _network(recipe)
    step = make_step(network, build_optimizer(network, recipe), recipe.batch_size)
    return lambda: step(*_batch(recipe, images, labels))


def autograd(recipe: Recipe, images: Tensor, labels: Tensor) -> Contestant:
    """PyTorch with care: autograd, fused Adam, indexing in place of a DataLoader."""
    network = _network(recipe)
    step = AutogradStep(network, build_optimizer(network, recipe))
    return lambda: step(*_batch(recipe, images, labels))


def as_people_write_it(recipe: Recipe, images: Tensor, labels: Tensor) -> Contestant:
    """PyTorch from a tutorial: a DataLoader, torch's own layers with biases, default Adam."""
    widths = [INPUTS, *recipe.hidden, CLASSES]
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        norm = [nn.BatchNorm1d(outputs)] if recipe.norm == "batch" else []
        layers += [nn.Linear(inputs, outputs), *norm, nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(images, labels), recipe.batch_size, shuffle=True)
    batches = iter(loader)

    def run() -> None:
        nonlocal batches
        try:
            x, y = next(batches)
        except StopIteration:
            batches = iter(loader)
            x, y = next(batches)
        optimizer.zero_grad()
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    return run


def _network(recipe: Recipe) -> nn.Module:
    return build_network(recipe, inputs=INPUTS, classes=CLASSES).train()


def _batch(recipe: Recipe, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.randint(0, len(labels), (recipe.batch_size,))
    return images.index_select(0, rows), labels.index_select(0, rows)


def measure(recipe: Recipe, steps: int) -> dict[str, list[float]]:
    """Seconds of every step of every contestant, interleaved."""
    images, labels = torch.randn(ROWS, INPUTS), torch.randint(0, CLASSES, (ROWS,))
    contestants = {
        "floor": floor(recipe),
        "normscope": ours(recipe, images, labels),
        "PyTorch, with care": autograd(recipe, images, labels),
        "PyTorch, as people write it": as_people_write_it(recipe, images, labels),
    }
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for step in range(-10, steps):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            if step >= 0:
                samples[name].append(time.perf_counter() - started)
    return samples


def report(arm: str, samples: dict[str, list[float]]) -> None:
    """The table of one arm."""
    print(f"\nnorm = {arm}, {len(samples['floor'])} steps")
    print(f"{'':28} {'ms, median':>10} {'x floor':>8}")
    for name, times in samples.items():
        ratio = median(t / f for t, f in zip(times, samples["floor"], strict=True))
        print(f"{name:28} {1e3 * median(times):10.2f} {ratio:8.3f}")


def main() -> None:
    """Measure both arms, print, and keep the raw samples."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/training_step.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Adam's moments of a long run hold denormal numbers, which are slow; here they must not count.
    torch.set_flush_denormal(True)
    conditions = {
        "date": datetime.now(UTC).date().isoformat(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.platform(),
    }
    print(", ".join(f"{name} {value}" for name, value in conditions.items()))
    print("The floor: matrix products and one fused Adam pass; see the head of this file.")
    arms = {arm: measure(Recipe(norm=arm), options.steps) for arm in ("batch", "none")}
    for arm, samples in arms.items():
        report(arm, samples)
    options.json.write_text(json.dumps(conditions | {"seconds": arms}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
