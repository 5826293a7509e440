"""Write the page of the probes, `docs/probes.md`, from their docstrings and from what they read.

Run by `./dev docs`. A test holds that the committed page is what this writes.
"""

import inspect
import re
from pathlib import Path
from textwrap import dedent

import torch
from torch import nn

from normscope.probes._all import ALL
from normscope.probes._moment import Moment, Probe
from normscope.records import Reading

PAGE = Path(__file__).resolve().parents[1] / "docs" / "probes.md"

HEAD = """# The probes

What can be read at a moment of a training, right after a step of the optimizer, without changing
it. Each reading is one quantity of one layer, or of the whole network: a value, or values over a
grid that the probe's section names, or both.

Costs are in forward passes (F), and in forward and backward passes (FB), of the probe batch, which
is the same at every moment. *Every* is how many steps lie between two readings, unless somebody
says otherwise. What is expected is what the sources found or proved; by which thresholds this
project puts it to the test is on [a page of its own](explain.md).

A layer is a linear map or a convolution that is called as a module, however its weight is made
(also by `torch.nn.utils.parametrize`). The projections inside `MultiheadAttention` and the maps
inside torch's recurrent layers give their sums to no hook: probes of weights and steps read them,
those of activations do not.

| probe | what it reads | every | cost | quantities | expected | sources |
| --- | --- | --- | --- | --- | --- | --- |
"""

EXPECTED = {
    "distribution-drift": "with batch norm the bands stay nearly where they are; without, they "
    "wander",
    "covariate-shift": "with batch norm no smaller than without, though training is faster",
    "landscape": "with batch norm all smaller, in deep networks; disputed for shallow ones",
    "gradient-identity": "a residual of 0 wherever the gradient flows through the statistics",
    "safe-step": "larger with batch norm",
    "sharpness": "in shallow networks not necessarily smaller with batch norm",
    "depth-growth": "squared gradients grow by π/(π − 1) per batch norm and ReLU in wide networks",
    "input-independence": "large without batch norm",
    "scale-invariance": "no change in front of a batch norm, as eps goes to 0",
    "angular-update": "in front of a batch norm the gradient is at right angles to the weights",
    "length-direction": "no radial part in front of a batch norm, under plain SGD",
    "stable-rank": "falls to 1 with depth; with batch norm it stays away from 1",
    "batch-noise": "falls as 1/m with the batch size m",
}
"""What sources found or proved, where they did; by the probe's name."""

ARXIV = re.compile(r"arXiv (\d{4}\.\d{5})")


def page() -> str:
    """The whole page."""
    probes = [ALL[name]() for name in ALL]
    return HEAD + "".join(map(row, probes)) + "".join(map(section, probes))


def row(probe: Probe) -> str:
    """A probe's line in the table."""
    text = inspect.getdoc(type(probe))
    cost = re.search(r"^Cost: (.*?)(?=\n\n|\Z)", text, re.MULTILINE | re.DOTALL)[1]
    links = dict.fromkeys(f"[{i}](https://arxiv.org/abs/{i})" for i in ARXIV.findall(_joined(text)))
    cells = (
        f"[{probe.name}](#{probe.name})",
        text.partition("\n")[0],
        str(probe.every),
        _joined(cost),
        ", ".join(f"`{quantity}`" for quantity in quantities(probe)),
        EXPECTED.get(probe.name, ""),
        ", ".join(links),
    )
    return "| " + " | ".join(_code(cell).replace("|", "\\|") for cell in cells) + " |\n"


def section(probe: Probe) -> str:
    """A probe's docstring in Markdown."""
    text = _code(inspect.getdoc(type(probe)))
    text = re.sub(r"^\.\. math::(.*?)(?=^\S|\Z)", _math, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^Example:\n(.*?)(?=^\S|\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^Args:\n(.*?)(?=^\S|\Z)", _arguments, text, flags=re.MULTILINE | re.DOTALL)
    return f"\n## {probe.name}\n\n{_linked(text).rstrip()}\n"


def quantities(probe: Probe) -> list[str]:
    """What it reads at the second of two moments of a small network with a batch norm."""
    return list(dict.fromkeys(reading.quantity for reading in readings(probe)))


def readings(probe: Probe) -> list[Reading]:
    """What it reads there."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(),
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3),
    )  # fmt: skip
    x, y = torch.randn(64, 5), torch.randint(3, (64,))

    def loss(network: nn.Module) -> torch.Tensor:
        return nn.functional.cross_entropy(network(x), y)

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in (1, 2):
        before = {name: p.detach().clone() for name, p in network.named_parameters()}
        optimizer.zero_grad()
        loss(network).backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        optimizer.step()
        moment = Moment(step, network, loss, before, gradients, dict.fromkeys(before, 0.1))
        found = list(probe.read(moment))
    return found


def _math(block: re.Match[str]) -> str:
    return f"```math\n{dedent(_indented(block[1])).strip()}\n```\n\n"


def _arguments(block: re.Match[str]) -> str:
    lines = re.sub(r"^(\w+):", r"- `\1`:", dedent(block[1]).rstrip(), flags=re.MULTILINE)
    return f"Settings:\n\n{lines}\n\n"


def _indented(text: str) -> str:
    """A block whose first line may stand beside its heading."""
    first, _, rest = text.partition("\n")
    return f"    {first.strip()}\n{rest}" if first.strip() else rest


def _code(text: str) -> str:
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def _linked(text: str) -> str:
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)


def _joined(text: str) -> str:
    """One line."""
    return " ".join(text.split())


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
