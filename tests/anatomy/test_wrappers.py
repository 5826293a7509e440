"""What stands around a model: taken off, looked through, and quiet for the length of a block."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.optim.swa_utils import AveragedModel

from normscope import InputError
from normscope.anatomy import plain_path, plainly, refuse_shards, unwrapped
from normscope.doctor import check, watch
from normscope.surgery import fold, recalibrate, remove_bias_before_norm


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


WRAPPERS = [
    nn.DataParallel,
    AveragedModel,
    lambda m: torch.compile(m, backend="eager"),
    lambda m: AveragedModel(nn.DataParallel(m)),
    lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
]


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_what_is_inside_and_its_names(wrap: Callable[[nn.Module], nn.Module]) -> None:
    wrapped = wrap(model())
    assert type(unwrapped(wrapped)) is nn.Sequential
    found = [plain_path(wrapped, name) for name, _ in wrapped.named_parameters()]
    assert found == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert any(name != plain_path(wrapped, name) for name, _ in wrapped.named_parameters())


def test_a_part_called_module_keeps_its_name() -> None:
    own = nn.ModuleDict({"module": model()})
    assert unwrapped(own) is own
    assert plain_path(own, "module.0.weight") == "module.0.weight"
    assert plain_path(nn.DataParallel(own), "module.module.0.weight") == "module.0.weight"


def test_a_compiled_part_is_looked_through() -> None:
    own = nn.Sequential(torch.compile(model(), backend="eager"))
    assert plain_path(own, "0._orig_mod.1") == "0.1"


def test_nothing_runs_compiled_inside_and_again_afterwards() -> None:
    own, calls = nn.Linear(2, 2), []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        def run(*args: object) -> object:
            calls.append(1)
            return graph.forward(*args)

        return run

    compiled, x = torch.compile(own, backend=backend), torch.zeros(1, 2)
    compiled(x)
    with plainly(compiled):
        compiled(x)
    assert len(calls) == 1
    with pytest.raises(ZeroDivisionError), plainly(compiled):
        raise ZeroDivisionError
    compiled(x)
    assert len(calls) == 2


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def sharded_anew() -> nn.Module:
    return fully_shard(nn.Sequential(model()), mesh=init_device_mesh("cpu", (1,)))


def sharded_as_before() -> nn.Module:
    return FullyShardedDataParallel(model(), device_id=torch.device("cpu"))


@pytest.mark.filterwarnings("ignore")  # that there is no accelerator, and of FSDP's own
@pytest.mark.parametrize("build", [sharded_anew, sharded_as_before])
def test_shards_are_refused_before_anything_is_touched(
    alone: None, build: Callable[[], nn.Module]
) -> None:
    shards, x = build(), torch.randn(8, 2)
    for refused in (
        lambda: check(shards),
        lambda: check(shards, [x]),
        lambda: watch(shards),
        lambda: recalibrate(shards, [x]),
        lambda: fold(shards, x),
        lambda: remove_bias_before_norm(shards, x),
    ):
        with pytest.raises(InputError, match="is sharded .* before it is wrapped"):
            refused()
    shards(x).sum().backward()  # it still works


def test_what_is_whole_is_not_refused() -> None:
    for wrap in WRAPPERS:
        refuse_shards(wrap(model()))
