"""The default recipe's network in use: as it is, folded, and folded in ONNX Runtime.

A step is one call on a batch. Who does not compute what the unfolded network computes stops here.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import normscope as ns
from benchmarks.steps._torch import set_up
from benchmarks.worker import Pace
from normscope.nn import set_population_statistics
from normscope.training import build_network

TOLERANCE = 1e-5


def unfolded(pace: Pace, *, batch: int) -> None:
    """In eval mode."""
    network, images = _given(batch)
    _call(pace, network, images, network)


def folded(pace: Pace, *, batch: int) -> None:
    """By `normscope.fold`."""
    network, images = _given(batch)
    lean, _ = ns.fold(network, images[:120])
    _call(pace, lean, images, network)


def onnx_runtime(pace: Pace, *, batch: int, threads: int) -> None:
    """The folded network's weights, as Gemm and Relu nodes."""
    import onnxruntime  # noqa: PLC0415  the other two can do without

    network, images = _given(batch)
    lean, _ = ns.fold(network, images[:120])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(_as_onnx(lean), options, ["CPUExecutionProvider"])
    rows = images.numpy()

    def call(_: Tensor) -> np.ndarray:
        return session.run(None, {"x": rows})[0]

    _call(pace, call, images, network)


def _given(batch: int) -> tuple[nn.Module, Tensor]:
    """The network with statistics of its input, in eval mode, and that input: noise."""
    set_up()
    network = build_network(ns.Recipe(), inputs=784, classes=10)
    set_population_statistics(network, torch.randn(1000, 784))
    return network.eval(), torch.randn(batch, 784)


@torch.inference_mode()
def _call(
    pace: Pace,
    network: Callable[[Tensor], Tensor | np.ndarray],
    images: Tensor,
    reference: nn.Module,
) -> None:
    """Check, then call again and again.

    Raises:
        ArithmeticError: if the outputs are not the reference's to `TOLERANCE` of the largest.
    """
    expected, found = reference(images), torch.as_tensor(network(images))
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= TOLERANCE:
        msg = f"the outputs differ from the unfolded network's by {difference:.1e}"
        raise ArithmeticError(msg)
    while True:
        pace()
        network(images)


def _as_onnx(network: nn.Module) -> bytes:
    """A chain of linear layers with ReLUs between them."""
    import onnx  # noqa: PLC0415
    from onnx import helper, numpy_helper  # noqa: PLC0415

    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    nodes, weights, name = [], [], "x"
    for index, linear in enumerate(linears):
        w, b, s, h = (f"{letter}{index}" for letter in "wbsh")
        weights += [
            numpy_helper.from_array(linear.weight.detach().numpy(), w),
            numpy_helper.from_array(linear.bias.detach().numpy(), b),
        ]
        nodes += [helper.make_node("Gemm", [name, w, b], [s], transB=1)]
        nodes += [helper.make_node("Relu", [s], [h])]
        name = h
    nodes.pop()  # the logits are sums
    values = {
        letter: helper.make_tensor_value_info(letter, onnx.TensorProto.FLOAT, [None, width])
        for letter, width in (("x", linears[0].in_features), (s, linears[-1].out_features))
    }
    graph = helper.make_graph(nodes, "folded", [values["x"]], [values[s]], weights)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
