"""How much a batch norm's output for fixed rows depends on who else is in the batch."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from normscope.anatomy import batch_norm_layers, normalizing_by_batch
from normscope.probes._moment import Moment
from normscope.probes._summaries import Writer, exact
from normscope.records import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEED = 0


@dataclass(frozen=True)
class _Seen:
    """What one batch norm is given and gives in one pass, ``[rows, places, channels]``."""

    given: Tensor
    made: Tensor


Pass = tuple[dict[str, _Seen], Tensor | None]
"""By the batch norm's path; and the network's output, where it is a tensor with a row each."""


@dataclass
class BatchNoise:
    r"""How much the same rows' activations and outputs vary with their mates in the batch.

    Some rows of the probe batch are normalized together with mates that are drawn anew, with
    replacement, from the probe batch (Luo et al. 2019, arXiv 1809.00846, study this noise). With f
    fixed rows in a batch of m, the variance over draws of the batch mean of a unit is
    σ²(m − f)/m², that of its batch variance nearly Var((x − μ)²)(m − f)/m², which is
    (κ + 2)σ⁴(m − f)/m² for an excess kurtosis κ: exact for the first batch norm, whose inputs do
    not depend on the mates. In a convolution x is a row's mean over its places, and (x − μ)² its
    mean of those.

    Quantities, per batch norm, by its own path. The value is the mean over channels, the values are
    the quantiles 0, 0.15, 0.5, 0.85 and 1 over channels; those that do not vary are left out:

    - ``activation-noise``: the variance over draws of a fixed row's output, in the mean over fixed
      rows and places, over the variance of the output over rows and places,
    - ``mean-noise``: the variance over draws of the batch mean, over its theory; 1 in the mean for
      the first layer,
    - ``variance-noise``: the same of the batch variance;

    and of the network, where its output is a tensor with a row for each row: ``output-noise``, like
    ``activation-noise``, over all outputs.

    Batch norms normalize by their batch; all else is in eval mode. Draws are the same at every
    reading. There is nothing to read where the loss does not call the network with one tensor of
    rows alone, or the network has no batch norm.

    Cost: 2 F of the probe batch, and `draws` F of batches of `batch_size`.

    Args:
        batch_size: m.
        fixed: f; fewer where there are fewer rows.
        draws: how often mates are drawn.

    Example:
        >>> x = torch.arange(32.0)[:, None]
        >>> moment = Moment(1, torch.nn.BatchNorm1d(1), lambda n: n(x).sum(), {}, {}, {})
        >>> [r.quantity for r in BatchNoise(batch_size=8, fixed=2).read(moment)]
        ['activation-noise', 'mean-noise', 'variance-noise', 'output-noise']
    """

    needs_loss: ClassVar[bool] = True

    name: str = "batch-noise"
    every: int = 2000
    batch_size: int = 120
    fixed: int = 8
    draws: int = 16

    def read(self, moment: Moment) -> list[Reading]:
        """Three quantities of every batch norm that is called, and one of the network."""
        rows = _rows_of(moment) if batch_norm_layers(moment.network) else None
        if rows is None or self.batch_size <= self.fixed:
            return []
        fixed = min(self.fixed, len(rows))
        generator = torch.Generator().manual_seed(_SEED)
        mates = [
            torch.randint(len(rows), (self.batch_size - fixed,), generator=generator)
            for _ in range(self.draws)
        ]
        batches = [torch.cat([rows[:fixed], rows[chosen.to(rows.device)]]) for chosen in mates]
        everything, *drawn = _passes(moment, [rows, *batches])
        write, readings = Writer(moment, self.name), list[Reading]()
        share = (self.batch_size - fixed) / self.batch_size**2
        for path, whole in everything[0].items():
            noisy = [seen[path] for seen, _ in drawn]
            readings += [
                write.spread(quantity, each, path)
                for quantity, each in _noise(whole, noisy, fixed, share).items()
            ]
        outputs = [output for _, output in drawn if output is not None]
        if everything[1] is not None and len(outputs) == self.draws:
            fixed_outputs = torch.stack([output[:fixed] for output in outputs])
            noise = fixed_outputs.var(0).mean() / everything[1].var(0, correction=0).mean()
            readings.append(write.number("output-noise", noise))
        return readings


def _noise(whole: _Seen, noisy: list[_Seen], fixed: int, share: float) -> dict[str, Tensor]:
    """The three quantities of one batch norm, per channel."""
    fixed_rows = torch.stack([seen.made[:fixed] for seen in noisy])
    activation = fixed_rows.var(0).mean((0, 1)) / whole.made.var((0, 1), correction=0)
    means = torch.stack([seen.given.mean((0, 1)) for seen in noisy])
    variances = torch.stack([seen.given.var((0, 1), correction=0) for seen in noisy])
    centred = whole.given - whole.given.mean((0, 1))
    mean_theory = share * centred.mean(1).var(0, correction=0)
    variance_theory = share * centred.square().mean(1).var(0, correction=0)
    return {
        "activation-noise": activation,
        "mean-noise": means.var(0) / mean_theory,
        "variance-noise": variances.var(0) / variance_theory,
    }


def _rows_of(moment: Moment) -> Tensor | None:
    """What the loss calls the network with, where that is tensors of rows and nothing else."""
    given: list[Any] = []

    def look(_: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        alone = len(positional) == 1 and not named
        given.append(positional[0] if alone else None)

    def loss(network: nn.Module) -> Tensor:
        hook = network.register_forward_pre_hook(look, with_kwargs=True)
        try:
            return moment.loss(network)
        finally:
            hook.remove()

    replace(moment, loss=loss).loss_at(moment.after)
    tensors = [x for x in given if isinstance(x, Tensor) and x.ndim > 1 and len(x)]
    return torch.cat(tensors) if tensors and len(tensors) == len(given) else None


def _passes(moment: Moment, batches: list[Tensor]) -> list[Pass]:
    """What batch norms are given and give, and the output, of every batch."""
    passes: list[Pass] = []

    def loss(network: nn.Module) -> Tensor:
        network.eval()
        norms = batch_norm_layers(network)
        with normalizing_by_batch(norms.values()):
            for batch in batches:
                with _looking(network) as seen:
                    output = network(batch)
                is_rows = isinstance(output, Tensor) and output.shape[:1] == batch.shape[:1]
                passes.append((seen, exact(output) if is_rows else None))
        return torch.zeros(())

    replace(moment, loss=loss).loss_at(moment.after)
    return passes


@contextmanager
def _looking(network: nn.Module) -> "Iterator[dict[str, _Seen]]":
    """Inside the block, the first call of every batch norm is kept."""
    seen: dict[str, _Seen] = {}

    def looking(path: str) -> Callable[..., None]:
        def look(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any], made: Tensor) -> None:
            x = given[0] if given else named["input"]
            seen.setdefault(path, _Seen(_by_row(x), _by_row(made)))

        return look

    with ExitStack() as hooks:
        for path, norm in batch_norm_layers(network).items():
            handle = norm.register_forward_hook(looking(path), with_kwargs=True)
            hooks.callback(handle.remove)
        yield seen


def _by_row(values: Tensor) -> Tensor:
    """``[rows, places, channels]`` in float64, on a copy that nothing writes into later."""
    values = exact(values.clone())
    return values.movedim(1, -1).flatten(1, -2) if values.ndim > 2 else values[:, None]
