"""Batch normalization with one thing changed: the rungs between a network with it and one without.

Each is a control for one explanation of why batch normalization helps. All have gamma and beta as
batch norm has them, from 1 and 0, so that nothing else differs.
"""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope._errors import InputError
from normscope.nn._batch_norm import (
    BatchNorm,
    Convention,
    Running,
    RunningVariance,
    check_input,
    follow,
    is_recomputed,
)
from normscope.stats import moments

Part = Literal["mean", "variance"]


class NoisyBatchNorm(BatchNorm):
    r"""Batch norm, and behind it noise whose distribution is another for every unit and step.

    .. math:: y'_{ij} = s_{ij} \, y_{ij} + m_{ij}, \qquad
              m_{ij} \sim U(\mu_j - 0.1, \mu_j + 0.1), \quad s_{ij} \sim N(\sigma_j, 0.1^2), \quad
              \mu_j \sim U(-0.5, 0.5), \quad \sigma_j \sim U(1, 1.25)

    The experiment of Santurkar et al. 2018 (arXiv 1805.11604), section 2: noise of a mean that is
    not 0 and a scale that is not 1, which changes in every step, brings the shift of distributions
    back that batch norm is said to remove. That it acts behind gamma and beta, on every layer, the
    forms of the distributions and their constants are our choice. The draws come from torch's
    default generator of the device; no gradient flows into them. In eval there is no noise: it is
    batch norm.

    Example:
        >>> norm = NoisyBatchNorm(3)
        >>> x = torch.randn(8, 3)
        >>> torch.equal(norm(x), norm(x)), torch.equal(norm.eval()(x), norm(x))
        (False, True)
    """

    spread_of_means = 0.5
    largest_scale = 1.25
    spread_in_a_batch = 0.1

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalize; in training, disturb."""
        y = super().forward(input)
        if not self.training:
            return y
        unit = y.new_empty(self.num_features)
        mean = torch.rand_like(unit).mul_(2).sub_(1).mul_(self.spread_of_means)
        scale = torch.rand_like(unit).mul_(self.largest_scale - 1).add_(1)
        mean, scale = _by_channel(mean, y), _by_channel(scale, y)
        spread = self.spread_in_a_batch
        added = torch.rand_like(y).mul_(2).sub_(1).mul_(spread).add_(mean)
        factor = torch.randn_like(y).mul_(spread).add_(scale)
        return y * factor + added


class DetachedBatchNorm(BatchNorm):
    r"""Batch norm whose statistics are constants to the gradient.

    .. math:: \partial x = \gamma \, \partial y / \sqrt{\mathrm{variance} + \epsilon}

    The forward of `BatchNorm`, to rounding. Of its derivative by x (Ioffe & Szegedy 2015, section
    3) only this term is left, without the two that take out the gradient's mean and its share along
    x. Section 2 of the same article warns of such a step: the next statistics may undo it.

    Example:
        >>> x = torch.tensor([[0.0], [4.0]], requires_grad=True)
        >>> y = DetachedBatchNorm(1, eps=0.0)(x)
        >>> y.detach().flatten(), torch.autograd.grad(y[1, 0], x)[0].flatten()
        (tensor([-1.,  1.]), tensor([0.0000, 0.5000]))
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalize the input; in training, let the running statistics follow it."""
        if not _uses_batch(self):
            return super().forward(input)
        check_input(input, type(self).__name__, self.num_features, (), by_batch=True)
        mean, variance = moments(input.detach(), _all_but_channels(input))
        if _tracks(self):
            n = input.numel() // self.num_features
            self.track(mean, variance * (n / (n - 1)), n)
        return F.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)


class GhostBatchNorm(BatchNorm):
    r"""Batch norm by the statistics of parts of the batch.

    Hoffer, Hubara & Soudry 2017 (arXiv 1705.08741), Algorithm 1: the batch is cut, in its order,
    into ghost batches of `ghost_size` rows, each normalized by itself; gamma and beta are shared.
    Where the rows do not come out even, the last ghost batch has the rest as well.

    The running statistics move once a step, towards the mean over the ghost batches of their means
    and of their variances (ours: the article moves them once for every ghost batch). Which variance
    is `running_variance`'s to say, with the n of a ghost batch: the population variance of 8 rows
    is on average 7/8 of that of all rows, and it is what training normalizes by.

    With a batch of fewer than two ghost batches, these are the bits of `BatchNorm`.

    Args:
        num_features: C, the number of channels.
        ghost_size: the rows of a ghost batch, at least 2.
        **options: as those of `BatchNorm`.

    Raises:
        InputError: if `ghost_size` is less than 2.

    Example:
        >>> norm = GhostBatchNorm(1, ghost_size=2)
        >>> norm(torch.tensor([[0.0], [2.0], [5.0], [9.0]])).detach().round(decimals=3).flatten()
        tensor([-1.,  1., -1.,  1.])
    """

    def __init__(self, num_features: int, *, ghost_size: int, **options: Any) -> None:
        if ghost_size < 2:
            msg = f"ghost_size is {ghost_size}; one row has no variance, so give 2 or more"
            raise InputError(msg)
        super().__init__(num_features, **options)
        self.ghost_size = ghost_size

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Normalize the input; in training, let the running statistics follow it."""
        whole = input.shape[0] // self.ghost_size if input.ndim else 0
        if not _uses_batch(self) or whole < 2:
            return super().forward(input)
        check_input(input, type(self).__name__, self.num_features, (), by_batch=True)
        rest = input.shape[0] % self.ghost_size
        even = (whole - 1 if rest else whole) * self.ghost_size
        parts = [self._each(input[:even], self.ghost_size)]
        if rest:
            parts.append(self._each(input[even:], self.ghost_size + rest))
        outputs, means, variances = zip(*parts, strict=True)
        if _tracks(self):
            n = self.ghost_size * (input[0].numel() // self.num_features)
            self.track(torch.cat(means).mean(0), torch.cat(variances).mean(0), n)
        return torch.cat(outputs)

    def _each(self, x: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
        """Every `rows` rows by themselves; their means and Bessel-corrected variances, a row each.

        Ghost batches side by side are one batch of more channels.
        """
        ghosts, channels, rest = len(x) // rows, self.num_features, x.shape[2:]
        beside = x.view(ghosts, rows, channels, *rest).transpose(0, 1)
        mean = torch.zeros(ghosts * channels, dtype=x.dtype, device=x.device)
        variance = torch.zeros_like(mean)
        y = F.batch_norm(
            beside.reshape(rows, ghosts * channels, *rest),
            mean,
            variance,
            None if self.weight is None else self.weight.repeat(ghosts),
            None if self.bias is None else self.bias.repeat(ghosts),
            training=True,
            momentum=1.0,  # so that the moving averages are the batch's own statistics
            eps=self.eps,
        )
        back = y.view(rows, ghosts, channels, *rest).transpose(0, 1).reshape(x.shape)
        return back, mean.view(ghosts, channels), variance.view(ghosts, channels)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{super().extra_repr()}, ghost_size={self.ghost_size}"


class PartialBatchNorm(nn.Module):
    r"""Half of batch norm: by the batch's mean alone, or by its variance alone.

    .. math:: y = \gamma \, (x - \mathrm{mean}) + \beta \qquad \text{or} \qquad
              y = \gamma \, x / \sqrt{\mathrm{variance} + \epsilon} + \beta

    The first is mean-only batch normalization (Salimans & Kingma 2016, arXiv 1602.07868, section
    4), with a gamma; the variance of the second is the population's, around the mean, which stays
    in x. The gradient flows through either. Both running statistics are tracked as `BatchNorm`
    does, and one of them is used in eval. It is no `torch.nn.BatchNorm1d`, so that nothing takes
    what it computes for batch normalization.

    Args:
        num_features: C, the number of channels, in axis 1.
        only: the statistic that it normalizes by.
        eps: added to the variance.
        momentum: the weight of the new; None for the cumulative average.
        running_variance: which variance the running one follows.
        warm_up: whether early batches weigh more.

    Raises:
        InputError: if `only` is neither. In forward, if the input has not C channels in axis 1.
        BatchTooSmallError: in forward, in training, if there is one value per channel.
        IntegerTensorError: in forward, if the input holds integers.

    Example:
        >>> x = torch.tensor([[1.0], [5.0]])
        >>> PartialBatchNorm(1, only="mean")(x).detach().flatten()
        tensor([-2.,  2.])
        >>> PartialBatchNorm(1, only="variance", eps=0.0)(x).detach().flatten()
        tensor([0.5000, 2.5000])
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(
        self,
        num_features: int,
        only: Part,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        running_variance: RunningVariance = "bessel",
        warm_up: bool = False,
    ) -> None:
        super().__init__()
        if only not in get_args(Part):
            msg = f"only is {only!r}; it must be 'mean' or 'variance'"
            raise InputError(msg)
        self.num_features, self.only, self.eps = num_features, only, eps
        self.convention = Convention(momentum, running_variance, warm_up)
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize the input; in training, let the running statistics follow it."""
        name, channels = type(self).__name__, self.num_features
        check_input(x, name, channels, (), by_batch=self.training)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = moments(x, _all_but_channels(x))
            if not is_recomputed():
                n = x.numel() // channels
                running = Running(self.running_mean, self.running_var, self.num_batches_tracked)
                bessel_variance = variance.detach() * (n / (n - 1))
                follow(running, self.convention, mean.detach(), bessel_variance, n)
        if self.only == "mean":
            s2 = x - _by_channel(mean, x)
        else:
            s2 = x * _by_channel((variance + self.eps).rsqrt(), x)
        return s2 * _by_channel(self.weight, x) + _by_channel(self.bias, x)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{self.num_features}, only={self.only!r}, eps={self.eps}"


class CalibratedNorm(nn.Module):
    r"""An affine map that makes the first batch standardised, and then stays what it is.

    .. math:: y = \gamma \, (x - \mathrm{mean}_1) / \sqrt{\mathrm{variance}_1 + \epsilon} + \beta

    The statistics are those of the first batch that it sees in training, and constants from then
    on: a start like batch norm's, without normalization. In a network, whose layers are called one
    after another, each is given what calibrated layers make of that batch. After the layer-wise
    start of Mishkin & Matas 2016 (LSUV, arXiv 1511.06422), which rescales the weights instead, by
    the variance alone, and makes them orthogonal first; this is the same idea in batch norm's form.

    Before the first batch it is ``gamma * x + beta``, to epsilon. Eval and training compute alike.

    Args:
        num_features: C, the number of channels, in axis 1.
        eps: added to the variance.

    Raises:
        InputError: in forward, if the input has not C channels in axis 1.
        BatchTooSmallError: in forward, in training, if there is one value per channel.
        IntegerTensorError: in forward, if the input holds integers.

    Example:
        >>> norm = CalibratedNorm(1, eps=0.0)
        >>> norm(torch.tensor([[1.0], [5.0]])).detach().flatten()
        tensor([-1.,  1.])
        >>> norm(torch.tensor([[11.0], [15.0]])).detach().flatten()
        tensor([4., 6.])
    """

    fixed_mean: Tensor
    fixed_variance: Tensor
    calibrations: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("fixed_mean", torch.zeros(num_features))
        self.register_buffer("fixed_variance", torch.ones(num_features))
        self.register_buffer("calibrations", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Map the input; in training, take its statistics if nobody has."""
        check_input(x, type(self).__name__, self.num_features, (), by_batch=self.training)
        mean, variance = self.fixed_mean, self.fixed_variance
        if self.training:
            # Asking the device whether this is the first batch would wait for it, and a CUDA graph
            # could not: the choice is made there. New tensors, for backward keeps what it is given.
            first, of_batch = self.calibrations == 0, moments(x.detach(), _all_but_channels(x))
            mean = torch.where(first, of_batch[0], mean)
            variance = torch.where(first, of_batch[1], variance)
            self.fixed_mean.copy_(mean)
            self.fixed_variance.copy_(variance)
            self.calibrations.fill_(1)
        return F.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{self.num_features}, eps={self.eps}"


def _uses_batch(norm: BatchNorm) -> bool:
    """Whether a batch norm goes by the batch's own statistics, as `BatchNorm` decides it."""
    return norm.training or norm.running_mean is None or norm.running_var is None


def _tracks(norm: BatchNorm) -> bool:
    """Whether the running statistics are to follow this forward."""
    return norm.training and norm.track_running_stats and not is_recomputed()


def _all_but_channels(x: Tensor) -> list[int]:
    return [axis for axis in range(x.ndim) if axis != 1]


def _by_channel(values: Tensor, x: Tensor) -> Tensor:
    """Values per channel in the shape that goes with x."""
    return values.view(1, -1, *(1,) * (x.ndim - 2))
