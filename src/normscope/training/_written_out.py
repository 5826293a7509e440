r"""The training step written out: forward, backward and Adam over buffers that are made once.

Autograd allocates every intermediate anew and records what to do with it. For this one network the
chain rule fits on a page, and the step then costs little more than its matrix products.

Forward, for each layer, with rows :math:`x`, weights :math:`W` and scale
:math:`c = 1/\sqrt{n_{in}}` (1 for plain weights):

.. math::
    s_1 = c \, x W^\top, \quad s_3 = \mathrm{batchnorm}(s_1), \quad h = \max(s_3, 0)

The loss is the mean cross-entropy of the last :math:`s_3`, whose gradient is
:math:`(\mathrm{softmax}(s_3) - \mathrm{onehot}) / m`. Backward, from the last layer to the first:

.. math::
    \partial s_1 = \mathrm{batchnorm}'(\partial s_3), \quad
    \partial W = c \, (\partial s_1)^\top x, \quad
    \partial x = c \, \partial s_1 W, \quad
    \partial s_3^{\text{before}} = \partial x \cdot [h > 0]

The products take :math:`c` as their own factor, so the scale costs nothing. Batch norm and its
derivative are PyTorch's kernels (Ioffe & Szegedy 2015, section 3), and so is Adam. Without a norm,
:math:`s_3 = s_1 + b`, and :math:`\partial b` is the sum of :math:`\partial s_3` over the rows.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from normscope._shapes import Batch, ClassIndices
from normscope.nn import MLP, BatchNorm, NormalizedLayer, ScaledLinear

_kernels = torch.ops.aten


class _Layer(ABC):
    """One layer over buffers for a fixed number of rows: its products, forward and backward.

    Attributes:
        output: h, or the logits, ``[batch, units]``.
        output_gradient: the loss's derivative by s3, ``[batch, units]``.
    """

    def __init__(self, layer: NormalizedLayer, rows: int) -> None:
        parameter = layer.linear.weight
        assert isinstance(parameter, nn.Parameter)
        self.weight, self.weight_gradient = _with_gradient(parameter)
        self.scale = layer.linear.scale if isinstance(layer.linear, ScaledLinear) else 1.0
        self.output = self.weight.new_zeros(rows, len(self.weight))
        self.output_gradient = torch.zeros_like(self.output)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """From x to s3, which is left in `output`."""

    @abstractmethod
    def by_sums(self) -> Tensor:
        """From the derivative by s3 to that by s1; gamma's and beta's, or b's, on the way."""

    def backward(self, x: Tensor, by_x: Tensor | None) -> None:
        """From the derivative by s3 to that by the weights and, where wanted, by x."""
        by_sums, scale = self.by_sums(), self.scale
        gradient = self.weight_gradient
        torch.addmm(gradient, by_sums.t(), x, beta=0, alpha=scale, out=gradient)
        if by_x is not None:
            torch.addmm(by_x, by_sums, self.weight, beta=0, alpha=scale, out=by_x)


class _BatchNormalized(_Layer):
    """``s3 = batchnorm(s1)``."""

    def __init__(self, layer: NormalizedLayer, rows: int) -> None:
        super().__init__(layer, rows)
        assert isinstance(layer.norm, BatchNorm)
        self.norm = layer.norm
        self.gamma, self.gamma_gradient = _with_gradient(layer.norm.weight)
        self.beta, self.beta_gradient = _with_gradient(layer.norm.bias)
        self.sums = torch.zeros_like(self.output)
        # The kernel leaves the batch's statistics twice: for a moving average, and for backward.
        self.mean, self.bessel_variance = torch.zeros_like(self.beta), torch.zeros_like(self.beta)
        self.for_backward = torch.zeros_like(self.beta), torch.zeros_like(self.beta)

    def forward(self, x: Tensor) -> Tensor:
        sums, norm = self.sums, self.norm
        torch.addmm(sums, x, self.weight.t(), beta=0, alpha=self.scale, out=sums)
        _kernels.native_batch_norm.out(
            *(sums, self.gamma, self.beta, self.mean, self.bessel_variance),
            training=True,
            momentum=1.0,  # so that the moving averages are the batch's own statistics
            eps=norm.eps,
            out=self.output,
            save_mean=self.for_backward[0],
            save_invstd=self.for_backward[1],
        )
        norm.track(self.mean, self.bessel_variance, len(x))
        return self.output

    def by_sums(self) -> Tensor:
        by_sums: Tensor
        by_sums, by_gamma, by_beta = _kernels.native_batch_norm_backward(
            *(self.output_gradient, self.sums, self.gamma, None, None, *self.for_backward),
            train=True,
            eps=self.norm.eps,
            output_mask=[True, True, True],
        )
        self.gamma_gradient.copy_(by_gamma)
        self.beta_gradient.copy_(by_beta)
        return by_sums


class _Biased(_Layer):
    """``s3 = s1 + b``."""

    def __init__(self, layer: NormalizedLayer, rows: int) -> None:
        super().__init__(layer, rows)
        assert isinstance(layer.linear.bias, nn.Parameter)
        self.bias, self.bias_gradient = _with_gradient(layer.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.t(), alpha=self.scale, out=self.output)

    def by_sums(self) -> Tensor:
        torch.sum(self.output_gradient, 0, out=self.bias_gradient)
        return self.output_gradient


class WrittenOutStep:
    """One step of training, as autograd and `torch.optim.Adam` would make it, to rounding.

    Parameters, their gradients, running statistics and the optimizer's state are the network's and
    the optimizer's own: whoever looks at them between steps sees what autograd would have left.

    Args:
        network: one for which `applies` is true.
        optimizer: Adam over all of its parameters; its state is made here if it has none.
        rows: the size of every batch.
    """

    def __init__(self, network: MLP, optimizer: torch.optim.Adam, rows: int) -> None:
        self._layers = [
            (_BatchNormalized if isinstance(layer.norm, BatchNorm) else _Biased)(layer, rows)
            for layer in network.normalized_layers()
        ]
        logits = self._layers[-1].output
        self._log_probabilities = torch.zeros_like(logits)
        self._minus_one = logits.new_full((rows, 1), -1.0)
        self._adam = _FusedAdam(network, optimizer)

    @staticmethod
    def applies(network: MLP, optimizer: torch.optim.Optimizer) -> bool:
        """Whether this page is about `network` and `optimizer`, exactly as they are."""
        layers = network.normalized_layers()
        norms = {type(layer.norm) for layer in layers}
        return (
            type(optimizer) is torch.optim.Adam
            and not any(group["amsgrad"] or group["maximize"] for group in optimizer.param_groups)
            and len(optimizer.param_groups) == 1
            and norms in ({BatchNorm}, {nn.Identity})
            and all(type(layer.linear) in {ScaledLinear, nn.Linear} for layer in layers)
            and all(p.requires_grad and p.device.type == "cpu" for p in network.parameters())
            and not any(vars(module)["_forward_hooks"] for module in network.modules())
        )

    @torch.no_grad()
    def __call__(self, images: Batch, labels: ClassIndices) -> tuple[Tensor, Tensor]:
        """Make one step; the loss before it, and how many rows were right, as scalars."""
        inputs, logits = self._forward(images)
        log_probabilities = torch.log_softmax(logits, 1, out=self._log_probabilities)
        loss = nn.functional.nll_loss(log_probabilities, labels)
        correct = (logits.argmax(dim=1) == labels).sum()
        self._backward(inputs, labels)
        self._adam.update()
        return loss, correct

    def _forward(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What every layer takes in, and the logits."""
        inputs = [images]
        *hidden, last = self._layers
        for layer in hidden:
            inputs.append(layer.forward(inputs[-1]).relu_())
        return inputs, last.forward(inputs[-1])

    def _backward(self, inputs: list[Tensor], labels: Tensor) -> None:
        """Every parameter's gradient."""
        gradient = torch.exp(self._log_probabilities, out=self._layers[-1].output_gradient)
        gradient.scatter_add_(1, labels[:, None], self._minus_one).div_(len(labels))
        for index in range(len(self._layers) - 1, 0, -1):
            h, by_h = inputs[index], self._layers[index - 1].output_gradient
            self._layers[index].backward(h, by_h)
            _kernels.threshold_backward.grad_input(by_h, h, 0, grad_input=by_h)
        self._layers[0].backward(inputs[0], None)


class _FusedAdam:
    """`torch.optim.Adam`'s own kernel on its own state, without its bookkeeping at every step."""

    def __init__(self, network: MLP, optimizer: torch.optim.Adam) -> None:
        self._group = optimizer.param_groups[0]
        parameters = list(network.parameters())
        for parameter in parameters:
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
        states = [optimizer.state[parameter] for parameter in parameters]
        self._tensors = [
            *map(list, zip(*map(_with_gradient, parameters), strict=True)),
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
        ]
        self._steps = [state["step"] for state in states]

    def update(self) -> None:
        """Kingma & Ba 2015 (arXiv 1412.6980), Algorithm 1, on every parameter."""
        group = self._group
        torch._foreach_add_(self._steps, 1)
        parameters, gradients, first_moments, second_moments = self._tensors
        torch._fused_adam_(  # what torch.optim.Adam(fused=True) calls
            parameters,
            gradients,
            first_moments,
            second_moments,
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


def _with_gradient(parameter: nn.Parameter) -> tuple[Tensor, Tensor]:
    """A parameter's values and its gradient, which is made if there is none."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.detach(), parameter.grad
