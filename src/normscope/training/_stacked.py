"""The tensors of one network, or of several that train together, as few large ones.

An operation costs a launch, however little it computes. So what every layer and every network
needs at each step, such as following a batch with the running statistics, is done at once on one
tensor, of which the modules' own parameters and buffers become views: whoever looks at a network
sees what it would hold by itself.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from normscope.nn import BatchNorm


class Stack:
    """The same parameter of every network.

    Args:
        members: one parameter per network, of the same shape; they become views of `value`, and
            their gradients views of `gradient`. A second stack of the same parameters takes them
            away from the first.

    Attributes:
        value: ``[networks, ...]``, or ``[...]`` for a single network.
        gradient: of the same shape.

    Example:
        >>> one, other = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([2.0]))
        >>> stack = Stack([one, other])
        >>> _ = stack.value.mul_(10)
        >>> other
        Parameter containing:
        tensor([20.], requires_grad=True)
    """

    def __init__(self, members: Sequence[nn.Parameter]) -> None:
        self.members = members
        values = torch.stack([member.detach() for member in members])
        gradients = torch.stack([_gradient(member) for member in members])
        for member, value, gradient in zip(members, values, gradients, strict=True):
            member.data, member.grad = value, gradient
        self.value, self.gradient = _squeezed(values), _squeezed(gradients)

    def take(self, gradient: Tensor) -> None:
        """Let a tensor that holds the gradient be it."""
        if gradient is not self.gradient:
            self.gradient = gradient
            of_each = [gradient] if len(self.members) == 1 else gradient
            for member, view in zip(self.members, of_each, strict=True):
                member.grad = view


class FusedAdam:
    """`torch.optim.Adam`'s own kernel on its own state, without its bookkeeping at every step.

    Args:
        stacks: all parameters.
        optimizers: Adam for each network, with equal settings; their states, made here where there
            are none, become views as the parameters did.
    """

    def __init__(self, stacks: Sequence[Stack], optimizers: Sequence[torch.optim.Adam]) -> None:
        self._group = optimizers[0].param_groups[0]
        states = [
            [_state(*pair) for pair in zip(optimizers, stack.members, strict=True)]
            for stack in stacks
        ]
        self._stacks, self._parameters = stacks, [stack.value for stack in stacks]
        self._first_moments = [_stacked(of_one, "exp_avg") for of_one in states]
        self._second_moments = [_stacked(of_one, "exp_avg_sq") for of_one in states]
        # Each parameter keeps a count, as torch's Adam wants it; they are views of one tensor.
        everyone = [state for of_one in states for state in of_one]
        self._counts = _stacked(everyone, "step")
        self._steps = [of_one[0]["step"] for of_one in states]

    def update(self) -> None:
        """Kingma & Ba 2015 (arXiv 1412.6980), Algorithm 1, on every parameter."""
        group = self._group
        self._counts.add_(1)
        torch._fused_adam_(  # what torch.optim.Adam(fused=True) calls
            self._parameters,
            [stack.gradient for stack in self._stacks],
            self._first_moments,
            self._second_moments,
            [],  # the maxima that only AMSGrad keeps
            self._steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )


class RunningStatistics:
    """The running statistics of many batch norms, as those of a wide one.

    Args:
        norms: for which `agree` is true; their buffers become views.
        scales: for each norm, what the values that it normalizes are to those that are measured.
    """

    def __init__(self, norms: Sequence[BatchNorm], scales: Sequence[float]) -> None:
        first, widths = norms[0], [norm.num_features for norm in norms]
        self._wide = BatchNorm(
            sum(widths),
            momentum=first.momentum,
            running_variance=first.running_variance,
            warm_up=first.warm_up,
        )
        for name in ("running_mean", "running_var"):
            joined = torch.cat([getattr(norm, name) for norm in norms])
            setattr(self._wide, name, joined)
            for norm, view in zip(norms, joined.split(widths), strict=True):
                setattr(norm, name, view)
        counts = torch.stack([_count(norm) for norm in norms])
        for norm, count in zip(norms, counts, strict=True):
            norm.num_batches_tracked = count
        self._wide.num_batches_tracked, self._other_counts = counts[0], counts[1:]
        self._mean, self._bessel_variance = torch.zeros_like(joined), torch.zeros_like(joined)
        of_each = [torch.full_like(norm.weight, c) for norm, c in zip(norms, scales, strict=True)]
        scale = torch.cat(of_each)
        self._scale, self._scale_squared = scale, scale**2
        self._placed = 0

    def places(self, channels: int) -> tuple[Tensor, Tensor]:
        """Where a batch's mean and Bessel-corrected variance are to be left for `follow`.

        Args:
            channels: of the norms whose turn it is, in their order.
        """
        here = slice(self._placed, self._placed + channels)
        self._placed += channels
        return self._mean[here], self._bessel_variance[here]

    def follow(self, n: int) -> None:
        """Follow a batch with n values per channel, whose statistics are in their places."""
        self._other_counts.add_(1)
        self._mean.mul_(self._scale)
        self._bessel_variance.mul_(self._scale_squared)
        self._wide.track(self._mean, self._bessel_variance, n)

    @staticmethod
    def agree(norms: Sequence[BatchNorm]) -> bool:
        """Whether `norms` may be followed as one."""
        conventions = {
            (norm.momentum, norm.running_variance, norm.warm_up, norm.track_running_stats)
            for norm in norms
        }
        return (
            len(conventions) == 1
            and norms[0].track_running_stats
            and len({int(_count(norm)) for norm in norms}) == 1
        )


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _count(norm: BatchNorm) -> Tensor:
    assert norm.num_batches_tracked is not None
    return norm.num_batches_tracked


def _state(optimizer: torch.optim.Adam, parameter: nn.Parameter) -> dict[str, Tensor]:
    """What Adam keeps of a parameter; as torch's Adam would begin it where there is nothing."""
    state: dict[str, Tensor] = optimizer.state[parameter]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    return state


def _stacked(states: Sequence[dict[str, Tensor]], slot: str) -> Tensor:
    """One slot of several states as one tensor, of which they become views."""
    stacked = torch.stack([state[slot].detach() for state in states])
    for state, view in zip(states, stacked, strict=True):
        state[slot] = view
    return _squeezed(stacked)


def _squeezed(stacked: Tensor) -> Tensor:
    return stacked[0] if len(stacked) == 1 else stacked
