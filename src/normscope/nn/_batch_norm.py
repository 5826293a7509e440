"""Batch normalization on PyTorch's kernels, with its two conventions written out."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._errors import BatchTooSmallError, InputError, IntegerTensorError
from normscope.stats import warmed_up_decay

RunningVariance = Literal["bessel", "population"]
Norm = TypeVar("Norm", bound="BatchNorm")


class BatchNorm(_BatchNorm):
    r"""Batch normalization over `[N, C]` or `[N, C, *]`, with both conventions to choose from.

    .. math:: y = \gamma \, \frac{x - \mathrm{mean}}{\sqrt{\mathrm{variance} + \epsilon}} + \beta

    Ioffe & Szegedy 2015 (arXiv 1502.03167), Algorithm 1. In training, `mean` and `variance` are
    those of the batch, one per channel; `variance` is the population variance, divided by the n
    values of the channel. In eval they are the running statistics, which each training batch
    moves by `running += momentum * (batch - running)`, from mean 0 and variance 1.

    With default arguments it computes the bits of `torch.nn.BatchNorm1d/2d/3d`, whose state dict
    it shares. What it adds:

    * `running_variance="population"` lets the running variance follow the population variance,
      as the founding article does; `"bessel"`, PyTorch's way, follows the one divided by n - 1.
    * `warm_up=True` uses `min(1 - momentum, (1 + t) / (10 + t))` as the weight of the old, where
      t is the number of batches tracked before.
    * `momentum=None`, the plain mean of all batches, compiles without a graph break.
    * A forward that activation checkpointing recomputes leaves the running statistics alone.
      (A compiled layer inside an eager checkpoint cannot know: compile the checkpoint with it.)
    * Integers, wrong axes and batches of one are refused in sentences, before anything changed.

    A batch with a value that is not finite makes the running statistics of its channels so too,
    as in PyTorch. Under autocast, and for half-precision input, all statistics stay in the dtype
    of the buffers; leave the module itself in float32. An empty batch moves no statistics, and is
    counted by PyTorch's own conventions alone.

    What PyTorch's tools make of it: a state dict does not say which variance it holds, and
    `torch.nn.SyncBatchNorm.convert_sync_batchnorm` makes a layer that tracks the Bessel-corrected
    one from then on. `torch.fx` traces through it, in the mode that it is in.

    PyTorch's kernel for the CPU adds up `[N, C]` and channels-last input in float32. For batches
    of thousands that costs nothing that matters; for 100 000 rows with a mean of 1e4 and a
    deviation of 1 its variance is fifty times too large. Take statistics of a whole data set with
    `normscope.stats.moments`, not in one batch.

    Args:
        num_features: C, the number of channels.
        eps: What keeps a constant channel from a division by zero.
        momentum: The weight of the new, as PyTorch means it; `None` for the cumulative average.
        affine: Whether there are a learned gamma (`weight`) and beta (`bias`).
        track_running_stats: Without them, eval uses the statistics of the batch as well.
        device: Where parameters and buffers live.
        dtype: Their dtype.
        running_variance: Which variance the running one follows.
        warm_up: Whether early batches weigh more.

    Raises:
        InputError: If `momentum` is outside [0, 1], `running_variance` is neither of the two, or
            `warm_up` is asked of the cumulative average, which has no need of it. In forward, if
            the input has not C channels in axis 1.
        BatchTooSmallError: In forward, if batch statistics are asked of one value per channel.
        IntegerTensorError: In forward, if the input holds integers.

    >>> norm = BatchNorm(2, running_variance="population", momentum=1.0)
    >>> norm(torch.tensor([[0.0, 10.0], [2.0, 30.0]])).detach()
    tensor([[-1.0000, -1.0000],
            [ 1.0000,  1.0000]])
    >>> norm.running_mean, norm.running_var
    (tensor([ 1., 20.]), tensor([  1., 100.]))
    """

    _dimensions: ClassVar[tuple[int, ...]] = ()  # what the input may have; empty: any from 2
    _torch_type: ClassVar[type[_BatchNorm]] = nn.BatchNorm1d

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,  # noqa: FBT001, FBT002 - PyTorch's signature
        track_running_stats: bool = True,  # noqa: FBT001, FBT002
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        running_variance: RunningVariance = "bessel",
        warm_up: bool = False,
    ) -> None:
        if problem := _problem_of(momentum, running_variance, warm_up=warm_up):
            raise InputError(problem)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.running_variance = running_variance
        self.warm_up = warm_up

    @classmethod
    def with_decay(cls: "type[Norm]", num_features: int, decay: float, **options: Any) -> "Norm":
        """Build the layer from `decay`, the weight of the old: `momentum = 1 - decay`.

        Args:
            num_features: C, the number of channels.
            decay: The weight of the old, in [0, 1].
            **options: Everything else that the class accepts.

        Raises:
            InputError: If the decay is outside [0, 1].

        >>> BatchNorm.with_decay(4, decay=0.75, running_variance="population").momentum
        0.25
        """
        if not 0 <= decay <= 1:
            msg = f"decay is {decay}; it is the weight of the old, and must lie between 0 and 1"
            raise InputError(msg)
        # Rounded, so that 0.99 becomes 0.01 and not 0.010000000000000009.
        return cls(num_features, momentum=round(1 - decay, 15), **options)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalize the input; in training, let the running statistics follow it."""
        mean, variance, affine = self.running_mean, self.running_var, (self.weight, self.bias)
        by_batch = self.training or mean is None or variance is None
        name = type(self).__name__
        check_input(input, name, self.num_features, self._dimensions, by_batch=by_batch)
        if not by_batch:
            return F.batch_norm(input, mean, variance, *affine, eps=self.eps)
        if mean is None or variance is None or not (self.training and self.track_running_stats):
            return F.batch_norm(input, None, None, *affine, training=True, eps=self.eps)
        return _normalize_and_track(
            input,
            Running(mean, variance, self.num_batches_tracked),
            Convention(self.momentum, self.running_variance, self.warm_up),
            *affine,
            self.eps,
        )

    def track(self, mean: Tensor, bessel_variance: Tensor, n: int) -> None:
        """Let the running statistics follow a batch, as a forward in training does.

        For code that normalizes by kernels of its own.

        Args:
            mean: The batch's mean, `[C]`.
            bessel_variance: Its variance, divided by n - 1, `[C]`.
            n: How many values each channel has in the batch, at least 2.

        >>> norm = BatchNorm(1, momentum=0.5)
        >>> norm.track(torch.tensor([2.0]), torch.tensor([5.0]), n=10)
        >>> norm.running_mean, norm.running_var
        (tensor([1.]), tensor([3.]))
        """
        if self.running_mean is None or self.running_var is None:
            return
        running = Running(self.running_mean, self.running_var, self.num_batches_tracked)
        convention = Convention(self.momentum, self.running_variance, self.warm_up)
        follow(running, convention, mean, bessel_variance, n)

    def to_torch(self) -> _BatchNorm:
        """The plain torch module that shares this layer's parameters and buffers.

        For tools that match torch's types exactly, such as `torch.fx.experimental.optimization`.
        It computes the same in eval. In training it has only PyTorch's conventions: it tracks the
        Bessel-corrected variance, does not warm up, and counts a recomputed forward twice. Hooks
        stay behind. A `BatchNorm` becomes a `BatchNorm1d`; for images, build a `BatchNorm2d`.

        >>> BatchNorm2d(3).to_torch()
        BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, ...)
        """
        plain = self._torch_type(
            self.num_features,
            self.eps,
            self.momentum,
            self.affine,
            self.track_running_stats,
            "meta",
        )
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(plain, name, getattr(self, name))
        return plain.train(self.training)

    def extra_repr(self) -> str:
        """PyTorch's own words, and the conventions."""
        return (
            f"{super().extra_repr()}, running_variance={self.running_variance!r}, "  # type: ignore[no-untyped-call]
            f"warm_up={self.warm_up}"
        )


class BatchNorm1d(BatchNorm, nn.BatchNorm1d):
    """`BatchNorm` for `[N, C]` and `[N, C, L]`; also a `torch.nn.BatchNorm1d`."""

    _dimensions = (2, 3)


class BatchNorm2d(BatchNorm, nn.BatchNorm2d):
    """`BatchNorm` for `[N, C, H, W]`; also a `torch.nn.BatchNorm2d`."""

    _dimensions = (4,)
    _torch_type = nn.BatchNorm2d


class BatchNorm3d(BatchNorm, nn.BatchNorm3d):
    """`BatchNorm` for `[N, C, D, H, W]`; also a `torch.nn.BatchNorm3d`."""

    _dimensions = (5,)
    _torch_type = nn.BatchNorm3d


class Running(NamedTuple):
    """The buffers that a batch moves; which variance they hold is the convention's to say."""

    mean: Tensor
    variance: Tensor
    batches: Tensor | None

    def clone(self) -> "Running":
        """Copies, to be moved instead."""
        batches = None if self.batches is None else self.batches.clone()
        return Running(self.mean.clone(), self.variance.clone(), batches)


class Convention(NamedTuple):
    """How a batch moves them."""

    momentum: float | None
    running_variance: RunningVariance
    warm_up: bool


def _normalize_and_track(
    x: Tensor,
    running: Running,
    convention: Convention,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
) -> Tensor:
    """Normalize by the statistics of the batch, and let the running ones follow them."""
    if is_recomputed():
        # Copies move, not the buffers; none at all would not do, because checkpointing counts
        # what each of the two passes saves.
        running = running.clone()
    bessel = convention.running_variance == "bessel"
    if bessel and convention.momentum is not None and not convention.warm_up:
        if running.batches is not None:
            running.batches.add_(1)
        moved = (running.mean, running.variance, weight, bias)
        return F.batch_norm(x, *moved, training=True, momentum=convention.momentum, eps=eps)
    # With a momentum of 1 the kernel leaves the batch's own mean and Bessel-corrected variance.
    mean, variance = torch.zeros_like(running.mean), torch.zeros_like(running.variance)
    y = F.batch_norm(x, mean, variance, weight, bias, training=True, momentum=1.0, eps=eps)
    if x.numel():
        follow(running, convention, mean, variance, x.numel() // x.shape[1])
    return y


def follow(
    running: Running, convention: Convention, mean: Tensor, bessel_variance: Tensor, n: int
) -> None:
    """Let the running statistics follow those of a batch with n values per channel."""
    variance = bessel_variance
    if convention.running_variance == "population":
        variance = bessel_variance * ((n - 1) / n)  # not in place: backward has saved it
    share = _share_of_the_new(running, convention)
    running.mean.lerp_(mean, share)
    running.variance.lerp_(variance, share)


def _share_of_the_new(running: Running, convention: Convention) -> Tensor | float:
    """Count the batch, and say how much it weighs, without asking the device for the count."""
    momentum, batches = convention.momentum, running.batches
    if batches is None:
        return 0.0 if momentum is None else momentum
    batches.add_(1)
    if momentum is not None and not convention.warm_up:
        return momentum
    count = batches.to(torch.promote_types(running.mean.dtype, torch.float32))
    share = 1 / count if momentum is None else 1 - warmed_up_decay(1 - momentum, count - 1)
    return share.to(running.mean.dtype)


def is_recomputed() -> bool:
    """Whether this forward runs inside a backward, as those of activation checkpointing do."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001 - there is no public word for it


def _problem_of(momentum: float | None, running_variance: str, *, warm_up: bool) -> str | None:
    """What is wrong with the options, if anything."""
    if momentum is not None and not 0 <= momentum <= 1:
        return f"momentum is {momentum}; it is the weight of the new, and must lie between 0 and 1"
    if running_variance not in get_args(RunningVariance):
        return f"running_variance is {running_variance!r}; it must be 'bessel' or 'population'"
    if warm_up and momentum is None:
        return "warm_up needs a momentum: the cumulative average (momentum=None) has its own start"
    return None


def check_input(
    x: Tensor, name: str, channels: int, dimensions: Sequence[int], *, by_batch: bool
) -> None:
    """Say in sentences what the kernel would refuse in worse words, or not at all.

    Raises:
        IntegerTensorError: If the input holds no floating-point numbers.
        InputError: If it has the wrong number of axes or channels.
        BatchTooSmallError: If the statistics of one value per channel are asked.
    """
    # While jit traces, sizes are tensors, and comparing them warns.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return
    layer = f"{name}({channels})"
    if not x.is_floating_point():
        msg = f"{layer} got a tensor of {x.dtype}, which has no mean. Convert it first: x.float()"
        raise IntegerTensorError(msg)
    if x.ndim < 2 or (dimensions and x.ndim not in dimensions):
        axes = " or ".join(str(d) for d in dimensions) or "2 or more"
        msg = f"{layer} needs {axes} axes, of which axis 1 is the channels; got {list(x.shape)}"
        raise InputError(msg)
    if x.shape[1] != channels:
        raise InputError(_wrong_channels(x, layer, channels))
    if by_batch and x.numel() == channels:
        raise BatchTooSmallError(_too_small(x, layer, channels))


def _wrong_channels(x: Tensor, layer: str, channels: int) -> str:
    msg = f"{layer} needs {channels} channels in axis 1; got {x.shape[1]} in {list(x.shape)}."
    if x.ndim > 2 and x.shape[-1] == channels:
        msg += " The last axis has that many: bring it there with x.movedim(-1, 1)."
    return msg


def _too_small(x: Tensor, layer: str, channels: int) -> str:
    msg = (
        f"{layer} got shape {list(x.shape)}: one value in each of {channels} channels, "
        "which has no variance. Use larger batches, pass drop_last=True to the data loader if "
        "only the last batch is this small, or call eval() to use the running statistics."
    )
    if x.ndim > 2:
        msg += " After global pooling, use another norm, such as LayerNorm, or none."
    return msg


# Under torch.fx the input is a proxy without a shape: these become calls in the graph.
torch.fx.wrap("check_input")
torch.fx.wrap("_normalize_and_track")
