"""What a check and a watch cost: `./dev guest`, a minute or two."""

import itertools
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import normscope as ns

BATCHES, ROUNDS = 8, 7


def network() -> nn.Module:
    """Eight convolutions, each with a batch norm."""
    torch.manual_seed(0)
    widths = [3, 32, 32, 64, 64, 64, 128, 128, 128]
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        stride = 2 if number in {2, 5} else 1
        layers += [
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10))


def data() -> list[tuple[Tensor, Tensor]]:
    """Images of 32 x 32, 32 in a batch."""
    torch.manual_seed(1)
    return [(torch.randn(32, 3, 32, 32), torch.randint(10, (32,))) for _ in range(BATCHES)]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratios(work: Callable[[], object], plain: Callable[[], object]) -> list[float]:
    """How much longer one takes than the other, taken in turns."""
    work(), plain()
    return sorted(seconds(work) / seconds(plain) for _ in range(ROUNDS))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> None:
    """An epoch."""
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def main() -> None:
    """Print it."""
    torch.set_num_threads(1)
    model, batches = network(), data()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    train(model, optimizer, batches)

    def evaluated() -> None:
        with torch.no_grad():
            for x, _ in batches:
                model.eval()(x)

    def watched() -> None:
        with ns.watch(model.train(), optimizer):
            train(model, optimizer, batches)

    for _ in range(20):
        train(model.train(), optimizer, batches)
    static = sorted(seconds(lambda: ns.check(model)) for _ in range(ROUNDS))
    print(f"torch {torch.__version__}, one thread, {BATCHES} batches of 32, {ROUNDS} rounds")
    print(f"a check without data: {statistics.median(static):.3f} s (to {static[-1]:.3f} s)")
    for name, work, plain in (
        ("a check with data, to an evaluation", lambda: ns.check(model, batches), evaluated),
        ("a watched epoch, to one that is not", watched,
         lambda: train(model.train(), optimizer, batches)),
    ):  # fmt: skip
        found = ratios(work, plain)
        middle = statistics.median(found)
        print(f"{name}: {middle:.2f} times as long ({found[0]:.2f} to {found[-1]:.2f})")


if __name__ == "__main__":
    main()
