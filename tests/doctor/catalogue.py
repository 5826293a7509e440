"""Guests: models of many kinds, each with data and a way to call it, small and untrained."""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Guest:
    """A model that comes for a check.

    Attributes:
        model: as its owner hands it over.
        loader: its data.
        forward: how it is called, where that needs to be said.
    """

    model: nn.Module
    loader: Iterable[Any]
    forward: Callable[[nn.Module, Any], Any] | None = None


def images(*, count: int = 18, side: int = 8, channels: int = 3) -> DataLoader[Any]:
    """Shuffled, in batches of six, with labels of four classes."""
    own = torch.Generator().manual_seed(1)
    data = TensorDataset(
        torch.randn(count, channels, side, side, generator=own), torch.arange(count) % 4
    )
    return DataLoader(data, batch_size=6, shuffle=True, generator=own)


def rows(count: int = 18, width: int = 6) -> list[Tensor]:
    return list(torch.randn(count, width, generator=torch.Generator().manual_seed(1)).split(6))


# --- residual nets ---


class NormAct(nn.BatchNorm2d):
    """A subclass with a forward of its own, as timm has it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        by_batch = self.training or self.running_mean is None
        x = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, by_batch,
            self.momentum, self.eps,
        )  # fmt: skip
        return self.act(x)


class Basic(nn.Module):
    """Two convolutions with a shortcut; the last gamma begins at zero; some paths are dropped."""

    def __init__(self, channels: int, drop: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = NormAct(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.bn2.weight)
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        if self.drop is not None and self.drop() < 0.3:  # in eval mode, too
            branch = branch * 0
        return F.relu(x + branch)


class Bottleneck(nn.Module):
    """Narrow, with squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            nn.Conv2d(channels, half, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(inplace=True),
            nn.Conv2d(half, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, half, 1), nn.ReLU(),
            nn.Conv2d(half, channels, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return F.relu(x + y * self.squeeze(y))


class Dense(nn.Module):
    """What a layer makes is put beside what it was given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, 4, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.norm(x)))], dim=1)


def net(*blocks: nn.Module, channels: int = 8, out: int = 8) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(out, 4),
    )  # fmt: skip


def residual() -> Guest:
    model = net(Basic(8), Bottleneck(8))
    model[1].momentum = None
    model[3].bn1.eval()
    model[0].weight.requires_grad_(False)
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    return Guest(model, images())


def densely() -> Guest:
    return Guest(net(Dense(8), Dense(12), out=16), images())


def half_precision() -> Guest:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)).half()
    return Guest(model, [x.half() for x in rows()])


def brain_float() -> Guest:
    return Guest(net(Basic(8)).bfloat16(), [(x.bfloat16(), y) for x, y in list(images())])


# --- other kinds ---


class Transformer(nn.Module):
    """No batch norm at all."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 20)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.head(self.layer(self.embed(tokens), src_key_padding_mask=mask))


def transformer() -> Guest:
    tokens = torch.randint(0, 20, (6, 5), generator=torch.Generator().manual_seed(1))
    batch = {"tokens": tokens, "mask": torch.zeros(6, 5, dtype=torch.bool), "labels": tokens}
    return Guest(Transformer(), [batch] * 2)


class Pair(nn.Module):
    """A generator and a discriminator."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 6))
        self.discriminator = nn.Sequential(
            nn.utils.spectral_norm(nn.Linear(6, 8)), nn.BatchNorm1d(8), nn.Linear(8, 1)
        )

    def forward(self, noise: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        return self.discriminator(self.generator(noise)), self.discriminator(real)


def several_inputs(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Any:
    return model(batch[0], real=batch[1])


def gan() -> Guest:
    return Guest(Pair(), list(zip(rows(), rows(), strict=True)), several_inputs)


class Recurrent(nn.Module):
    """Reads rows of differing lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.GRU(3, 5, batch_first=True)
        self.norm = nn.BatchNorm1d(5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        states, _ = self.read(x)
        return self.norm((states * mask.unsqueeze(2)).transpose(1, 2))


def recurrent() -> Guest:
    mask = (torch.arange(7) < torch.tensor([[7], [3], [5]])).float()
    return Guest(Recurrent(), [{"x": torch.ones(3, 7, 3), "mask": mask, "y": mask}] * 2)


@dataclass
class Graph:
    """Nodes of several graphs, one after another."""

    nodes: Tensor
    edges: Tensor


class Neighbours(nn.Module):
    """Adds up neighbours; batches have any number of nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)

    def forward(self, graph: Graph) -> Tensor:
        x = self.norm(self.first(graph.nodes))
        return self.last(torch.zeros_like(x).index_add(0, graph.edges[1], x[graph.edges[0]]))


def ragged() -> Guest:
    sizes = (5, 9, 2)
    graphs = [Graph(torch.randn(n, 3), torch.randint(0, n, (2, 2 * n))) for n in sizes]
    return Guest(Neighbours(), graphs)


def few_values() -> Guest:
    """A batch norm over one value per channel, which raises in training mode."""
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    return Guest(model, [rows()[0], rows()[1][:1]])


# --- wrapped and made otherwise ---


def compiled() -> Guest:
    return Guest(torch.compile(net(Basic(8)), backend="eager"), images())


def compiled_inside() -> Guest:
    model = net(Basic(8))
    model[3] = torch.compile(model[3], backend="eager")
    return Guest(model, images())


def compiled_in_place() -> Guest:
    model = net(Basic(8))
    model.compile(backend="eager")
    return Guest(model, images())


def data_parallel() -> Guest:
    return Guest(nn.DataParallel(net(Basic(8))), images())


def synchronized() -> Guest:
    return Guest(nn.SyncBatchNorm.convert_sync_batchnorm(net(Basic(8), Dense(8), out=12)), images())


def lazy() -> Guest:
    return Guest(
        nn.Sequential(
            nn.LazyConv2d(5, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4)
        ),
        images(),
    )


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def parametrized() -> Guest:
    model = net(Basic(8))
    parametrize.register_parametrization(model[1], "weight", Doubled())
    parametrizations.spectral_norm(model[0])
    parametrizations.weight_norm(model[-1])
    return Guest(model, images())


def weight_normed() -> Guest:
    model = net(Basic(8))
    nn.utils.spectral_norm(model[0])
    with torch.no_grad():
        nn.utils.weight_norm(model[-1])
    return Guest(model, images())


def shared() -> Guest:
    model = net(Basic(8))
    return Guest(model.insert(4, model[3]).insert(4, nn.Sequential(model[1])), images())


def scripted() -> Guest:
    return Guest(torch.jit.script(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))), rows())


def exported() -> Guest:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)).eval()
    return Guest(torch.export.export(model, (rows()[0],)).module(), rows())


def on_meta() -> Guest:
    """Cannot be called."""
    with torch.device("meta"):
        return Guest(net(Basic(8)), images())


# --- with habits of their own ---


def drops_by_python() -> Guest:
    return Guest(net(Basic(8, random.random)), images())


def drops_by_numpy() -> Guest:
    return Guest(net(Basic(8, np.random.rand)), images())


def drops_by_torch() -> Guest:
    return Guest(net(Basic(8, lambda: float(torch.rand(())))), images())


class OwnDraws(nn.Module):
    """Has generators of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.torch_draws = torch.Generator().manual_seed(1)
        self.numpy_draws = np.random.default_rng(1)
        self.norm = nn.BatchNorm1d(6)

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(6, generator=self.torch_draws) * self.numpy_draws.random()
        return self.norm(x + noise)


def draws() -> Guest:
    return Guest(OwnDraws(), rows())


class Hoarder(nn.Module):
    """Keeps what it saw, has a norm where torch does not look, and writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(6)
        self.hidden = [nn.BatchNorm1d(6)]
        self.queue: deque[Tensor] = deque(maxlen=2)
        self.seen: defaultdict[str, list[int]] = defaultdict(list)
        self.center = torch.zeros(6)
        self.last: Tensor | None = None
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2).add_(1)
        y = self.hidden[0](self.norm(x))
        self.last = y
        self.queue.append(y)
        self.seen["rows"].append(len(x))
        self.center.mul_(0.9).add_(y.detach().mean(dim=0) + 1)
        self.steps += 1
        self.calls = getattr(self, "calls", 0) + 1
        return y


def hoarder() -> Guest:
    return Guest(Hoarder(), rows())


class Merging(nn.Linear):
    """An adapter that `eval()` merges into the weight and `train()` takes out, as loralib's."""

    def __init__(self) -> None:
        super().__init__(6, 6)
        self.adapter = nn.Parameter(torch.full((6, 6), 0.1))
        self.merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if self.merged == mode:
            self.weight.data += self.adapter.data * (-1 if mode else 1)
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        self.bias.data.clamp_(-0.1, 0.1)
        return super().forward(x) if self.merged else super().forward(x) + x @ self.adapter.T


def merging() -> Guest:
    return Guest(nn.Sequential(Merging(), nn.BatchNorm1d(6)), rows())


def hooked() -> Guest:
    """Its owner's hooks count; they run, and that is all."""
    model = net(Basic(8))
    for module in (model, *model):
        module.register_forward_hook(lambda *_: None)
        module.register_forward_pre_hook(lambda *_: None)
        module.register_full_backward_hook(lambda *_: None)
    model[0].weight.register_hook(lambda _: None)
    return Guest(model, images())


def inferred() -> Guest:
    """Tensors of inference mode, in the model and in the batches."""
    with torch.inference_mode():
        model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
        return Guest(model, [x.clone() for x in rows()])


def asks_for_gradients() -> Guest:
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    return Guest(model, [x.requires_grad_() for x in rows()])


def one_pass_loader() -> Guest:
    return Guest(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), (x for x in rows()))


CATALOGUE = [
    residual, densely, half_precision, brain_float, transformer, gan, recurrent, ragged,
    few_values, compiled, compiled_inside, compiled_in_place, data_parallel, synchronized, lazy,
    parametrized, weight_normed, shared, scripted, exported, on_meta, drops_by_python,
    drops_by_numpy, drops_by_torch, draws, hoarder, merging, hooked, inferred, asks_for_gradients,
    one_pass_loader,
]  # fmt: skip
