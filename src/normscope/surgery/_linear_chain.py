"""Linear layers and rectifiers in a row, and the fastest way that torch and NumPy offer for them.

A folded multi-layer perceptron is nothing else. Gradients, tracing, export, GPUs and everything
unusual take PyTorch's own path; plain inference on the CPU takes one of two shorter ones:

* One row is a chain of matrix-vector products. NumPy's BLAS (OpenBLAS, as a rule) is faster at them
  than the MKL inside PyTorch on the processors that we have, and costs less to call.
* More rows go through oneDNN, with weights that were brought into oneDNN's own order once. (Its
  products could rectify as well, but they would turn NaN into 0.)

`benchmarks/` measures both against what they replace.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import _has_any_global_hook

from normscope.nn import MLP

_GEMV_VALUES = 400_000
"""OpenBLAS deals a matrix-vector product out to its threads from 460 800 values on, where waiting
for them costs more than it saves. Larger matrices are multiplied in blocks of rows."""

_PACKING_ROWS = 1024
"""For how many rows oneDNN chooses the order of the weights; the order serves any number."""


class LinearChain(nn.Sequential):
    """An `nn.Sequential` of `Linear`, `ReLU` and `Flatten`, quick where no gradient is asked for.

    It is and does what a Sequential is and does: children may be replaced, hooked, parametrized or
    trained, and whatever the short ways do not cover is computed the ordinary way.

    For batches it keeps a reordered copy of the weights, which is renewed when they were replaced
    or written to. Only a write to a few single values through ``weight.data``, which PyTorch does
    not count, may go unseen: call `train()` or `eval()` after it.

    Example:
        >>> chain = LinearChain(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> x = torch.randn(5, 3)
        >>> with torch.no_grad():
        ...     torch.allclose(chain(x), nn.Sequential(*chain)(x), atol=1e-6)
        True
    """

    _prepared: "_Prepared | None" = None

    @classmethod
    def of(cls, model: nn.Module) -> "LinearChain | None":
        """The same modules as a chain, if `model` is nothing but one; None otherwise.

        Only an `MLP` or a plain `nn.Sequential` without hooks is taken apart: another class may do
        more than its modules say.
        """
        children = children_in_a_row(model)
        if children is None or _hooked(model):
            return None
        kept = [child for child in children if type(child) is not nn.Identity]
        if any(type(child) not in {nn.Flatten, nn.Linear, nn.ReLU} for child in kept):
            return None
        return cls(*kept).train(model.training)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """Map `[rows, inputs]`, or what a leading `Flatten` makes that of, to `[rows, outputs]`."""
        if _is_plain_inference(input) and (prepared := self._ready()) is not None:
            x = input.flatten(1) if prepared.flattens and input.ndim > 2 else input
            if x.ndim == 2 and x.shape[1] == prepared.layers[0].weight.shape[1] and len(x):
                return _one_row(prepared, x) if len(x) == 1 else _many_rows(prepared, x)
        y: Tensor = super().forward(input)  # type: ignore[no-untyped-call]
        return y

    def train(self, mode: bool = True) -> "LinearChain":  # noqa: FBT001, FBT002 - PyTorch's
        """Set the mode, and forget what was prepared."""
        self._prepared = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles prepare for themselves."""
        return vars(self) | {"_prepared": None}

    def _ready(self) -> "_Prepared | None":
        """What the short ways need, renewed if the modules are others now; None if they cannot."""
        children = tuple(self._modules.values())
        for child in children:
            if child is None or child._forward_hooks or child._forward_pre_hooks:  # noqa: SLF001
                return None
        prepared = self._prepared
        if prepared is None or not prepared.is_current(children):
            prepared = self._prepared = _prepare(children)
        return prepared if prepared.layers else None


@dataclass
class _Layer:
    """One linear layer, as the short ways take it. All but `packed` shares the module's memory.

    Attributes:
        weight: its weight.
        bias: its bias; None if it has none.
        blocks: the weight as NumPy arrays of some rows each.
        offset: the bias as a NumPy array; zeros if there is none.
        samples: some of the weight's values.
        floor: zeros as long as the bias if a ReLU follows; None otherwise.
        packed: the weight in oneDNN's order, once it was needed.
        written: what tells whether the weight was written to after it was packed.
    """

    weight: Tensor
    bias: Tensor | None
    blocks: list[np.ndarray]
    offset: np.ndarray
    samples: np.ndarray
    floor: np.ndarray | None = None
    packed: Tensor | None = None
    written: tuple[int, bytes] | None = None

    @classmethod
    def of(cls, module: nn.Linear) -> "_Layer | None":
        """The layer, unless its tensors are not plain float32 in the CPU's memory."""
        tensors = [tensor for tensor in (module.weight, module.bias) if tensor is not None]
        if not all(_is_plain(tensor) and not tensor.is_neg() for tensor in tensors):
            return None
        weight = module.weight.detach()
        bias = None if module.bias is None else module.bias.detach()
        offset = weight.new_zeros(len(weight)) if bias is None else bias
        rows = max(1, _GEMV_VALUES // max(1, weight.shape[1]))
        return cls(
            weight,
            bias,
            blocks=[block.numpy() for block in weight.split(rows)],
            offset=offset.numpy(),
            samples=weight.reshape(-1)[:: 1 + weight.numel() // 64].numpy(),
        )

    def in_onednns_order(self) -> Tensor:
        """The weight, packed again if it was written to since.

        PyTorch's count of writes misses what fused optimizers write (torch 2.13), and what goes
        through ``weight.data``: some values are compared as well, in equal distances.
        """
        written = (self.weight._version, self.samples.tobytes())  # noqa: SLF001 - no public word
        if self.packed is None or self.written != written:
            self.packed, self.written = _pack(self.weight), written
        return self.packed


@dataclass(frozen=True)
class _Prepared:
    """A chain, ready to be computed.

    Attributes:
        children: the modules that were read.
        flattens: whether the first is a `Flatten`.
        layers: what was read; empty if the chain must go the ordinary way.
        memory: where each tensor is to be found, the tensor, and its address. The layers hold on to
            that memory, so that no other tensor can have been put there meanwhile.
    """

    children: tuple[nn.Module | None, ...]
    flattens: bool
    layers: list[_Layer]
    memory: list[tuple[dict[str, Any], str, Tensor | None, int]]

    def is_current(self, children: tuple[nn.Module | None, ...]) -> bool:
        """Whether the modules still have the tensors (not: the values) that they had."""
        if self.children != children:
            return False
        for parameters, name, tensor, address in self.memory:
            if parameters.get(name) is not tensor:
                return False
            if tensor is not None and tensor.data_ptr() != address:
                return False
        return True


def children_in_a_row(model: nn.Module) -> list[nn.Module] | None:
    """The modules that an `MLP` or a plain `nn.Sequential` applies, in order; None for others.

    Example:
        >>> children_in_a_row(nn.Sequential(nn.Sequential(nn.Linear(2, 3)), nn.ReLU()))
        [Linear(in_features=2, out_features=3, bias=True), ReLU()]
    """
    row: list[nn.Module] = []
    if type(model) is MLP:
        for layer in model.normalized_layers():
            row += [layer.linear, layer.norm, nn.ReLU()]
        return [nn.Flatten(), *row[:-1]] if len(row) == 3 * len(model.layers) else None
    if type(model) is not nn.Sequential:
        return None
    for child in model:
        row += (None if _hooked(child) else children_in_a_row(child)) or [child]
    return row


def _prepare(children: tuple[nn.Module | None, ...]) -> _Prepared:
    """Read the modules once; anything unexpected makes a chain without layers."""
    nothing = _Prepared(children, flattens=False, layers=[], memory=[])
    flattens = bool(children) and _flattens(children[0])
    prepared = _Prepared(children, flattens, layers=[], memory=[])
    for child in children[prepared.flattens :]:
        layers = prepared.layers
        if type(child) is nn.Linear and (layer := _Layer.of(child)):
            layers.append(layer)
            for name, tensor in child._parameters.items():  # noqa: SLF001 - twice as fast to look up
                address = 0 if tensor is None else tensor.data_ptr()
                prepared.memory.append((child._parameters, name, tensor, address))  # noqa: SLF001
        elif type(child) is nn.ReLU and layers:
            layers[-1].floor = np.zeros_like(layers[-1].offset)
        else:
            return nothing
    return prepared


def _flattens(child: nn.Module | None) -> bool:
    return type(child) is nn.Flatten and (child.start_dim, child.end_dim) == (1, -1)


def _one_row(prepared: _Prepared, x: Tensor) -> Tensor:
    """Matrix-vector products in NumPy."""
    h = x.detach().numpy()[0]
    with np.errstate(all="ignore"):  # what is not finite passes through without a word, as in torch
        for layer in prepared.layers:
            blocks, floor = layer.blocks, layer.floor
            h = blocks[0].dot(h) if len(blocks) == 1 else np.concatenate([b.dot(h) for b in blocks])
            h += layer.offset
            if floor is not None:
                np.maximum(h, floor, out=h)  # a vector of zeros takes half the time of a scalar
    return torch.from_numpy(h[None])


def _many_rows(prepared: _Prepared, x: Tensor) -> Tensor:
    """Products by oneDNN, or by whatever torch has."""
    linear = _packed_linear()
    for layer in prepared.layers:
        if linear is None or layer.weight.is_inference():  # torch does not count writes to those
            x = F.linear(x, layer.weight, layer.bias)
        else:
            x = linear(x, layer.in_onednns_order(), layer.bias, "none", [], "")
        if layer.floor is not None:
            x.relu_()
    return x


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, _PACKING_ROWS)  # noqa: SLF001
    return packed


@functools.cache
def _packed_linear() -> Callable[..., Tensor] | None:
    """The oneDNN product of the compiler's back end, which is private: None unless it works."""
    weight, bias, x = torch.tensor([[1.0, -2.0]]), torch.tensor([0.5]), torch.ones(2, 2)
    try:
        linear: Callable[..., Tensor] = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        works = linear(x, _pack(weight), bias, "none", [], "").tolist() == [[-0.5], [-0.5]]
    except (AttributeError, RuntimeError, TypeError):
        return None
    return linear if works else None


def _is_plain_inference(x: Tensor) -> bool:
    """Whether `x` is only to be computed with: no gradient, no tracing, no transformation."""
    return (
        not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
        and _is_plain(x)
        and not x.is_neg()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and torch._C._functorch.peek_interpreter_stack() is None  # noqa: SLF001
        and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001
        and not torch._C._len_torch_function_stack()  # noqa: SLF001
        and not _has_any_global_hook()
    )


def _is_plain(x: Any) -> bool:
    return (
        type(x) in {Tensor, nn.Parameter}
        and x.dtype is torch.float32
        and x.layout is torch.strided
        and x.is_cpu
    )


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)  # noqa: SLF001
