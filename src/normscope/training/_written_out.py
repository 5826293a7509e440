r"""The training step written out: forward, backward and Adam over buffers that are made once.

Autograd allocates every intermediate anew and records what to do with it. For this one network the
chain rule fits on a page, and the step then costs little more than its matrix products.

Forward, for each layer, with rows :math:`x`, weights :math:`W` and scale
:math:`c = 1/\sqrt{n_{in}}` (1 for plain weights):

.. math::
    z = x W^\top, \quad s_1 = c z, \quad s_3 = \mathrm{batchnorm}(s_1), \quad h = \max(s_3, 0)

The loss is the mean cross-entropy of the last :math:`s_3`, whose gradient is
:math:`(\mathrm{softmax}(s_3) - \mathrm{onehot}) / m`. Backward, from the last layer to the first:

.. math::
    \partial z = c \, \mathrm{batchnorm}'(\partial s_3), \quad
    \partial W = (\partial z)^\top x, \quad
    \partial x = \partial z \, W, \quad
    \partial s_3^{\text{before}} = \partial x \cdot [h > 0]

:math:`s_1` is never formed: :math:`\mathrm{batchnorm}(c z; \epsilon) = \mathrm{batchnorm}(z;
\epsilon / c^2)`, and the derivative of the right side by :math:`z` has the :math:`c` in it. Batch
norm and its derivative are PyTorch's kernels (Ioffe & Szegedy 2015, section 3), and so is Adam.
Without a norm, :math:`s_3 = c z + b`, and :math:`\partial b` is the sum of :math:`\partial s_3`
over the rows.

Several networks that differ in nothing but their numbers make a step together: their units stand
side by side, ``[rows, networks * units]``, which to the kernel is one wide batch norm, and the
products are batched over the networks.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from normscope.nn import MLP, BatchNorm, NormalizedLayer, ScaledLinear, fast_linear
from normscope.training._adam import LeanAdam
from normscope.training._stacked import FusedAdam, RunningStatistics, Stack

_kernels = torch.ops.aten
_MODULE_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")


class _Layer(ABC):
    """One layer over buffers for a fixed number of rows: its products, forward and backward.

    Attributes:
        output: s3, rectified in place into h where the layer is hidden,
            ``[rows, networks * units]``.
        stacks: all parameters.
    """

    def __init__(self, layers: Sequence[NormalizedLayer], rows: int) -> None:
        self.networks = len(layers)
        self.weight = _stack(layers, "linear.weight")
        self.transposed = self.weight.value.mT
        units, self.scale = self.weight.value.shape[-2], _scale(layers[0])
        self.output = self.weight.value.new_zeros(rows, self.networks * units)
        self.stacks = [self.weight]

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """From x to s3, which is left in `output`."""

    @abstractmethod
    def by_z(self, by_s3: Tensor) -> Tensor:
        """From the derivative by s3 to that by z; gamma's and beta's, or b's, on the way."""

    def backward(self, by_s3: Tensor, x: Tensor, by_x: Tensor | None) -> Tensor | None:
        """From the derivative by s3 to that by the weights and by x, where there is room for it."""
        by_z = self.apart(self.by_z(by_s3))
        self.weight.take(self.product(by_z.mT, self.apart(x).mT, self.weight.gradient))
        return None if by_x is None else self.product(by_z, self.transposed, by_x)

    def product(self, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
        """``a @ b.mT``, network by network, in `out` or in a new tensor, whichever is faster."""
        if self.networks == 1:
            return fast_linear(a, b, out=out)
        torch.bmm(a, b.mT, out=self.apart(out) if out.dim() == 2 else out)
        return out

    def apart(self, together: Tensor) -> Tensor:
        """``[rows, networks * columns]`` as ``[networks, rows, columns]``; one network's as is."""
        if self.networks == 1:
            return together
        return together.view(len(together), self.networks, -1).transpose(0, 1)


class _BatchNormalized(_Layer):
    """``s3 = batchnorm(z)``, with an epsilon for s1.

    Args:
        layers: the same one of every network.
        rows: the size of every batch.
        for_average: where the mean and the Bessel-corrected variance of the batch's z are left.
    """

    def __init__(self, layers: Sequence[NormalizedLayer], rows: int, *for_average: Tensor) -> None:
        super().__init__(layers, rows)
        gamma, beta = _stack(layers, "norm.weight"), _stack(layers, "norm.bias")
        self.stacks += [gamma, beta]
        self.affine = gamma.value.view(-1), beta.value.view(-1)
        self.eps = _batch_norms([layers])[0].eps / self.scale**2
        self.z = self.buffer = torch.zeros_like(self.output)
        # The kernel leaves the batch's statistics twice: for a moving average, and for backward.
        self.for_average = for_average
        self.for_backward = [torch.zeros_like(parameter) for parameter in self.affine]

    def forward(self, x: Tensor) -> Tensor:
        self.z = self.product(self.apart(x), self.weight.value, self.buffer)
        mean, inverse_deviation = self.for_backward
        _kernels.native_batch_norm.out(
            *(self.z, *self.affine, *self.for_average),
            training=True,
            momentum=1.0,  # so that the moving averages are the batch's own statistics
            eps=self.eps,
            out=self.output,
            save_mean=mean,
            save_invstd=inverse_deviation,
        )
        return self.output

    def by_z(self, by_s3: Tensor) -> Tensor:
        by_z: Tensor
        by_z, *by_affine = _kernels.native_batch_norm_backward(
            *(by_s3, self.z, self.affine[0], None, None, *self.for_backward),
            train=True,
            eps=self.eps,
            output_mask=[True, True, True],
        )
        for parameter, gradient in zip(self.stacks[1:], by_affine, strict=True):
            parameter.take(gradient.view_as(parameter.value))
        self.z = self.buffer  # frees z early: memory that goes round is memory in the cache
        return by_z


class _Biased(_Layer):
    """``s3 = c z + b``."""

    def __init__(self, layers: Sequence[NormalizedLayer], rows: int) -> None:
        super().__init__(layers, rows)
        self.bias = _stack(layers, "linear.bias")
        self.stacks += [self.bias]

    def forward(self, x: Tensor) -> Tensor:
        z = self.product(self.apart(x), self.weight.value, self.output)
        return torch.add(self.bias.value.view(-1), z, alpha=self.scale, out=self.output)

    def by_z(self, by_s3: Tensor) -> Tensor:
        torch.sum(by_s3, 0, out=self.bias.gradient.view(-1))
        return by_s3.mul_(self.scale)


class WrittenOutStep:
    """One step of training, as autograd and `torch.optim.Adam` would make it, to rounding.

    Parameters, their gradients, running statistics and the optimizers' states stay the networks'
    and the optimizers': whoever looks at them between steps sees what autograd would have left.

    Args:
        networks: one, or several of the same make; `applies` is true of each.
        optimizers: Adam over all parameters of each, with equal settings; its state is made here
            if it has none.
        rows: the size of every batch.
    """

    def __init__(
        self, networks: Sequence[MLP], optimizers: Sequence[torch.optim.Adam], rows: int
    ) -> None:
        layers = list(zip(*(network.normalized_layers() for network in networks), strict=True))
        norms = _batch_norms(layers)
        scales = [_scale(layer) for same in layers for layer in same]
        self._running = RunningStatistics(norms, scales) if norms else None
        self._layers: list[_Layer] = []
        for same in layers:
            units = sum(norm.num_features for norm in _batch_norms([same]))
            self._layers.append(
                _BatchNormalized(same, rows, *self._running.places(units))
                if self._running
                else _Biased(same, rows)
            )
        self._rows, self._networks = rows, len(networks)
        logits = self._layers[-1].output.view(rows * len(networks), -1)
        self._log_probabilities = torch.zeros_like(logits)
        self._minus_one = logits.new_full((len(logits), 1), -1.0)
        # One buffer for the derivatives by every h: what is small enough stays in the cache.
        outputs = [layer.output for layer in self._layers]
        buffer = logits.new_zeros(max(output.numel() for output in outputs))
        self._by_h = [buffer[: output.numel()].view_as(output) for output in outputs]
        self._adam = FusedAdam([s for layer in self._layers for s in layer.stacks], optimizers)

    @staticmethod
    def applies(network: MLP, optimizer: torch.optim.Optimizer) -> bool:
        """Whether this page is about `network` and `optimizer`, exactly as they are."""
        layers = network.normalized_layers()
        norms = _batch_norms([layers])
        return (
            type(network) is MLP
            and _is_plain_adam_over(list(network.parameters()), optimizer)
            and {type(layer.norm) for layer in layers} in ({BatchNorm}, {nn.Identity})
            and (not norms or RunningStatistics.agree(norms))
            and all(norm.affine for norm in norms)
            and all(type(layer.linear) in {ScaledLinear, nn.Linear} for layer in layers)
            and all(p.requires_grad for p in network.parameters())
            and not any(vars(m).get(kind) for m in network.modules() for kind in _MODULE_HOOKS)
            and not any(getattr(p, kind) for p in network.parameters() for kind in _TENSOR_HOOKS)
        )

    @torch.no_grad()
    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Make one step.

        Args:
            images: ``[rows, inputs]``, or ``[rows, networks, inputs]`` for several.
            labels: ``[rows]``, or ``[rows, networks]``.

        Returns:
            The loss before the step, and how many rows were right: scalars, or ``[networks]``.
        """
        labels = labels.flatten()
        inputs, logits = self._forward(images.flatten(1))
        if self._running:
            self._running.follow(self._rows)
        results = self._results(logits, labels)
        self._backward(inputs, labels)
        self._adam.update()
        return results

    def _forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What every layer takes in, and the logits, one row for each row of each network."""
        inputs = [images]
        *hidden, last = self._layers
        for layer in hidden:
            inputs.append(layer.forward(inputs[-1]).relu_())
        return inputs, last.forward(inputs[-1]).view_as(self._log_probabilities)

    def _results(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy, and how many rows are right."""
        log_probabilities = torch.log_softmax(logits, 1, out=self._log_probabilities)
        right = logits.argmax(dim=1) == labels
        if self._networks == 1:
            return F.nll_loss(log_probabilities, labels), right.sum()
        losses = F.nll_loss(log_probabilities, labels, reduction="none")
        apart = self._rows, self._networks
        return losses.view(apart).mean(0), right.view(apart).sum(0)

    def _backward(self, inputs: list[Tensor], labels: Tensor) -> None:
        """Every parameter's gradient."""
        by_s3 = torch.exp(self._log_probabilities)
        by_s3.scatter_add_(1, labels[:, None], self._minus_one).div_(self._rows)
        by_s3 = by_s3.view(self._rows, -1)
        for index in range(len(self._layers) - 1, 0, -1):
            h = inputs[index]
            by_h = self._layers[index].backward(by_s3, h, self._by_h[index - 1])
            # h has served: its place takes what is left of its derivative where it is positive.
            by_s3 = _kernels.threshold_backward.grad_input(by_h, h, 0, grad_input=h)
        self._layers[0].backward(by_s3, inputs[0], None)


def _is_plain_adam_over(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer is Adam as `FusedAdam` makes it, over all of these parameters."""
    if type(optimizer) not in {torch.optim.Adam, LeanAdam} or len(optimizer.param_groups) != 1:
        return False
    [group] = optimizer.param_groups
    over_all = {id(parameter) for parameter in group["params"]} == {id(p) for p in parameters}
    variants = ("amsgrad", "maximize", "decoupled_weight_decay", "differentiable")
    return over_all and not any(group[variant] for variant in variants)


def _scale(layer: NormalizedLayer) -> float:
    """The c of a layer: 1 for plain weights."""
    return layer.linear.scale if isinstance(layer.linear, ScaledLinear) else 1.0


def _stack(layers: Sequence[NormalizedLayer], parameter: str) -> Stack:
    return Stack([layer.get_parameter(parameter) for layer in layers])


def _batch_norms(layers: Sequence[Sequence[NormalizedLayer]]) -> list[BatchNorm]:
    return [layer.norm for same in layers for layer in same if isinstance(layer.norm, BatchNorm)]
