"""Graphs captured from BatchNorm compute what it computes: compile, export, fx, ONNX."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from jaxtyping import config
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from normscope._errors import InputError
from normscope.nn import BatchNorm1d, BatchNorm2d

CONVENTIONS = [
    {},
    {"momentum": None},
    {"running_variance": "population"},
    {"running_variance": "population", "warm_up": True},
]
BATCHES = [
    torch.randn(rows, 3, 4, 4, generator=torch.Generator().manual_seed(rows)) for rows in (8, 5, 2)
]


@pytest.fixture(autouse=True)
def _as_users_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tests' shape checks, which no tracer can see through, and with no old graphs."""
    monkeypatch.setattr(config, "jaxtyping_disable", True)
    torch._dynamo.reset()


def assert_same_run(ours: nn.Module, reference: nn.Module) -> None:
    """Both see the same batches, and agree in outputs and buffers after each."""
    for x in BATCHES:
        torch.testing.assert_close(ours(x), reference(x))
    for name, buffer in ours.named_buffers():
        expected = reference.get_buffer(name.removeprefix("_orig_mod."))
        torch.testing.assert_close(buffer, expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("convention", CONVENTIONS)
class TestCaptured:
    def test_compiled_in_one_graph(self, convention: dict[str, object], *, training: bool) -> None:
        norm = BatchNorm2d(3, **convention).train(training)
        reference = copy.deepcopy(norm)
        assert_same_run(torch.compile(norm, fullgraph=True, backend="aot_eager"), reference)

    def test_exported(self, convention: dict[str, object], *, training: bool) -> None:
        norm = BatchNorm2d(3, **convention).train(training)
        reference = copy.deepcopy(norm)
        rows = {0: torch.export.Dim("rows")}
        program = torch.export.export(norm, (BATCHES[0],), dynamic_shapes=(rows,))
        assert norm.num_batches_tracked == 0, "export changes nothing"
        assert_same_run(program.module(), reference)

    def test_traced_by_fx(self, convention: dict[str, object], *, training: bool) -> None:
        model = nn.Sequential(nn.Conv2d(3, 3, 1), BatchNorm2d(3, **convention)).train(training)
        reference = copy.deepcopy(model)
        traced = torch.fx.symbolic_trace(model)
        assert model[1].num_batches_tracked == 0, "tracing changes nothing"
        assert_same_run(traced, reference)


class TestCompiled:
    def test_torchs_own_cumulative_average_breaks_the_graph(self) -> None:
        """The control: pytorch/pytorch#194504."""
        compiled = torch.compile(nn.BatchNorm2d(3, momentum=None), fullgraph=True, backend="eager")
        with pytest.raises(torch._dynamo.exc.TorchDynamoException, match="data-dependent"):
            compiled(BATCHES[0])

    def test_dynamic_shapes(self) -> None:
        norm = BatchNorm2d(3, running_variance="population")
        reference = copy.deepcopy(norm)
        compiled = torch.compile(norm, fullgraph=True, backend="aot_eager", dynamic=True)
        assert_same_run(compiled, reference)

    @pytest.mark.parametrize("convention", CONVENTIONS)
    def test_around_a_checkpoint(self, convention: dict[str, object]) -> None:
        norm = BatchNorm2d(3, **convention)
        reference = copy.deepcopy(norm)

        @torch.compile(fullgraph=True, backend="aot_eager")
        def forward(x: Tensor) -> Tensor:
            return checkpoint(norm, x, use_reentrant=False)

        for x in BATCHES:
            (forward(x) ** 3).sum().backward()
            (reference(x) ** 3).sum().backward()
        torch.testing.assert_close(norm.weight.grad, reference.weight.grad)
        for a, b in zip(norm.buffers(), reference.buffers(), strict=True):
            torch.testing.assert_close(a, b)

    @pytest.mark.slow  # half a minute of C++
    @pytest.mark.skipif(shutil.which("c++") is None, reason="inductor needs a C++ compiler")
    @pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
    def test_by_inductor_with_gradients(self) -> None:
        norm = BatchNorm2d(3, running_variance="population", momentum=None)
        reference = copy.deepcopy(norm)
        compiled = torch.compile(norm, fullgraph=True)
        x, same = BATCHES[0].clone().requires_grad_(), BATCHES[0].clone().requires_grad_()
        (compiled(x) ** 3).sum().backward()
        (reference(same) ** 3).sum().backward()
        torch.testing.assert_close(x.grad, same.grad)
        torch.testing.assert_close(norm.running_var, reference.running_var)


class TestExported:
    def test_eval_is_one_batch_norm(self) -> None:
        program = torch.export.export(BatchNorm2d(3).eval(), (BATCHES[0],))
        calls = [node.target for node in program.graph.nodes if node.op == "call_function"]
        assert calls == [torch.ops.aten.batch_norm.default]

    def test_strict(self) -> None:
        program = torch.export.export(BatchNorm2d(3), (BATCHES[0],), strict=True)
        torch.testing.assert_close(program.module()(BATCHES[0]), BatchNorm2d(3)(BATCHES[0]))

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_to_onnx(self, tmp_path: Path) -> None:
        onnx, reference = pytest.importorskip("onnx"), pytest.importorskip("onnx.reference")
        norm = BatchNorm2d(3, running_variance="population")
        norm(BATCHES[0])
        norm.eval()
        torch.onnx.export(norm, (BATCHES[1],), tmp_path / "norm.onnx", dynamo=False)
        model = onnx.load(tmp_path / "norm.onnx")
        assert [node.op_type for node in model.graph.node] == ["BatchNormalization"]
        feed = {model.graph.input[0].name: BATCHES[1].numpy()}
        (y,) = reference.ReferenceEvaluator(model).run(None, feed)
        torch.testing.assert_close(torch.from_numpy(y), norm(BATCHES[1]).detach())


class TestTracedByFx:
    def test_the_checks_travel_along(self) -> None:
        traced = torch.fx.symbolic_trace(BatchNorm1d(3).eval())
        with pytest.raises(InputError, match="needs 3 channels"):
            traced(torch.randn(5, 4))

    @pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
    @pytest.mark.parametrize("plain", [True, False])
    def test_torchs_fusion_takes_the_plain_module_alone(self, *, plain: bool) -> None:
        """It matches exact types, so that ours are left as they are: `to_torch` is there for it."""
        from torch.fx.experimental.optimization import fuse

        norm = BatchNorm2d(3, running_variance="population")
        for x in BATCHES:
            norm(x)
        model = nn.Sequential(nn.Conv2d(3, 3, 1), norm.to_torch() if plain else norm).eval()
        fused = fuse(model)
        modules = {type(module) for module in fused.modules()}
        calls = {node.target for node in fused.graph.nodes}
        assert nn.BatchNorm2d not in modules
        assert (nn.functional.batch_norm in calls) == (not plain)
        torch.testing.assert_close(fused(BATCHES[0]), model(BATCHES[0]))
