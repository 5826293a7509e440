"""A check leaves no trace: on models of every kind, and if anything raises anywhere inside it."""

import inspect
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

import normscope
from normscope import InputError
from normscope.anatomy import _preserved, unwrapped
from normscope.doctor import check
from normscope.doctor._observation import observed, untouched
from tests.doctor import catalogue
from tests.doctor.catalogue import CATALOGUE, Guest

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),  # of dynamo's own
    # an interrupt while a generator is thrown away
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

every_guest = pytest.mark.parametrize("build", CATALOGUE, ids=lambda build: build.__name__)


# --- everything that somebody could notice ---


def bits(tensor: Tensor) -> object:
    """What a tensor holds, to the last bit."""
    if is_lazy(tensor) or tensor.is_meta:
        return None
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()


def look(value: object) -> object:
    """A value with all that it holds: tensors by identity, memory and bits."""
    if isinstance(value, Tensor):
        memory = None if is_lazy(value) or value.is_meta else value.data_ptr()
        kind = type(value), value.dtype, value.requires_grad
        grad = look(value.grad) if value.is_leaf and value.grad is not None else None
        return id(value), kind, memory, bits(value), grad, look(value._backward_hooks)
    if isinstance(value, np.random.Generator):
        return str(value.bit_generator.state)
    if isinstance(value, torch.Generator):
        return value.get_state().tolist()
    if isinstance(value, nn.Module):
        return id(value)
    if isinstance(value, dict):
        return id(value), [(key, look(inner)) for key, inner in value.items()]
    if isinstance(value, list | tuple | set | catalogue.deque):
        return id(value), [look(inner) for inner in value]
    return value if isinstance(value, int | float | str) else id(value)


def fingerprint(guest: Guest) -> dict[str, object]:
    """Everything: of the model, of its data, and of the world."""
    state: dict[str, object] = {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "loader": look(getattr(guest.loader, "generator", None)),
    }
    if isinstance(guest.loader, list):
        leaves = pytree.tree_leaves(guest.loader)
        state["batches"] = [look(leaf) for leaf in leaves if isinstance(leaf, Tensor)]
    hidden = getattr(guest.model, "hidden", [])
    for root in (guest.model, *hidden):
        for path, module in root.named_modules(remove_duplicate=False):
            key = f"{id(root)}:{path}"
            state[key] = id(module), type(module), module.training
            for name, value in vars(module).items():
                state[f"{key}.{name}"] = look(value)
        tensors = [*root.named_parameters(), *root.named_buffers()]
        state |= {f"{id(root)}:{name}": look(tensor) for name, tensor in tensors}
    return state


def changed(before: dict[str, object], guest: Guest) -> list[str]:
    after = fingerprint(guest)
    return [key for key in before.keys() | after if before.get(key) != after.get(key)]


def diagnose(guest: Guest, *, data: bool) -> normscope.Diagnosis | None:
    if data and guest.model is not None and next(guest.model.parameters()).is_meta:
        with pytest.raises(InputError, match="meta device, where there are no numbers"):
            check(guest.model, guest.loader)
        return None
    return check(guest.model, guest.loader if data else None, forward=guest.forward)


# --- it leaves no trace ---


@pytest.mark.parametrize("data", [False, True], ids=["static", "data"])
@every_guest
def test_nothing_is_changed(build: Callable[[], Guest], data: bool) -> None:
    guest = build()
    before = fingerprint(guest)
    diagnose(guest, data=data)
    assert not changed(before, guest)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.enable_grad, torch.no_grad])
def test_nothing_is_changed_in_any_gradient_mode(mode: type) -> None:
    guest = catalogue.residual()
    with mode():
        before = fingerprint(guest)
        diagnose(guest, data=True)
        assert not changed(before, guest)
    guest.model.zero_grad()
    guest.model(torch.randn(4, 3, 8, 8)).sum().backward()


@every_guest
def test_the_control_the_fingerprint_sees_a_pass_in_training_mode(
    build: Callable[[], Guest],
) -> None:
    guest = build()
    if build in {catalogue.on_meta, catalogue.exported, catalogue.synchronized}:
        pytest.skip("cannot be called in training mode")
    before = fingerprint(guest)
    batch = next(iter(guest.loader))
    with torch.inference_mode(build is catalogue.inferred):
        guest.model.train()
        (guest.forward or normscope.anatomy.call)(guest.model, batch)
    assert changed(before, guest)


@every_guest
def test_at_most_three_passes_per_batch(build: Callable[[], Guest]) -> None:
    guest, passes = build(), Counter[str]()
    inner = unwrapped(guest.model)
    call = guest.forward or normscope.anatomy.call
    guest.forward = lambda model, batch: (passes.update(["forward"]), call(model, batch))[1]
    if not isinstance(inner, torch.jit.ScriptModule):
        inner.register_forward_pre_hook(lambda *_: passes.update(["model"]))
    diagnosis = diagnose(guest, data=True)
    if diagnosis is not None:
        assert all(1 <= count / diagnosis.conditions["batches"] <= 3 for count in passes.values())


# --- wherever it raises ---

HOUSE = Path(normscope.__file__).parent
WATCHED = (
    str(HOUSE), catalogue.__file__, str(Path(nn.__file__).parent / "modules"),
    str(Path(torch.__file__).parent / "utils" / "data"),
)  # fmt: skip


class Planted(Exception):  # noqa: N818
    pass


@contextmanager
def calls_watched(on_call: Callable[[str], None]) -> Iterator[None]:
    """Inside the block every call of a function of ours, of a module and of a loader is told."""

    def profile(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        # What is planted where a generator goes on would skip its handlers; no fault does.
        generator = code.co_flags & inspect.CO_GENERATOR
        if event == "call" and code.co_filename.startswith(WATCHED) and not generator:
            on_call(f"{code.co_filename}:{code.co_qualname}")

    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(None)


def calls_of(build: Callable[[], Guest], *, data: bool) -> list[str]:
    """The functions that a check calls, in order, from the second check of a process on."""
    calls: list[str] = []
    for watched in (nullcontext(), calls_watched(calls.append)):
        guest = build()
        with watched:
            check(guest.model, guest.loader if data else None, forward=guest.forward)
    return calls


def keeps_or_puts_back() -> bool:
    """Whether `preserved` is at work: nothing raises there by itself, but an interrupt may."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename != _preserved.__file__:
        frame = frame.f_back
    return frame is not None


def check_that_fails(guest: Guest, call: int, error: BaseException, *, data: bool) -> None:
    """A check whose call of that number raises."""
    count = 0

    def on_call(_: str) -> None:
        nonlocal count
        count += 1
        if count == call and not (isinstance(error, Planted) and keeps_or_puts_back()):
            raise error

    try:
        with calls_watched(on_call):
            check(guest.model, guest.loader if data else None, forward=guest.forward)
    except (normscope.NormscopeError, type(error)):
        pass
    assert count >= call, "the control: the fault was not reached"


FAULTS = 6
"""How many calls of each guest's check are made to fail, of some thousands."""


@pytest.mark.parametrize("data", [False, True], ids=["static", "data"])
@every_guest
def test_nothing_is_changed_by_a_failure(build: Callable[[], Guest], data: bool) -> None:
    if build is catalogue.on_meta and data:
        pytest.skip("cannot be called")
    most = int(0.95 * len(calls_of(build, data=data)))  # it varies a little
    chosen = random.Random(build.__name__).sample(range(1, most + 1), min(FAULTS, most))
    for number, call in enumerate(chosen):
        guest = build()
        before = fingerprint(guest)
        check_that_fails(guest, call, (Planted if number % 2 else KeyboardInterrupt)(), data=data)
        assert not changed(before, guest), (call, most)


@pytest.mark.slow
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("build", [catalogue.residual, catalogue.hoarder, catalogue.merging])
def test_nothing_is_changed_by_a_failure_of_any_function(
    build: Callable[[], Guest], last: bool
) -> None:
    """Every function is interrupted in turn, at its first call or at its last."""
    calls = calls_of(build, data=True)
    order = enumerate(calls, start=1) if last else reversed(list(enumerate(calls, start=1)))
    for function, call in {function: call for call, function in order}.items():
        guest = build()
        before = fingerprint(guest)
        check_that_fails(guest, call, KeyboardInterrupt(), data=True)
        assert not changed(before, guest), function


# --- what is wrapped around a model ---


def test_a_compiled_model_is_not_compiled_again() -> None:
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    inner = catalogue.net(catalogue.Basic(8)).eval()
    model, x = torch.compile(inner, backend=backend), torch.randn(4, 3, 8, 8)
    before, compiled = model(x), len(graphs)
    assert check(model, catalogue.images()).model == "Sequential"
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)
    assert len(graphs) == compiled > 0


def test_paths_are_those_of_the_model_inside() -> None:
    inner = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    inner[1].running_var[0] = torch.nan
    for model in (inner, nn.DataParallel(inner), torch.compile(inner, backend="eager")):
        diagnosis = check(model, catalogue.rows())
        assert diagnosis.model == "Sequential"
        assert diagnosis.of("NS302")[0].module == "1"


def one_rank_checks(rank: int, world: int, meeting: str) -> None:
    """The first rank checks, alone; a collective would wait for the others, in vain."""
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        torch.manual_seed(0)
        model = DistributedDataParallel(catalogue.residual().model)
        both = nn.ModuleDict({"one": model, "two": nn.BatchNorm1d(4)})
        guests = [
            Guest(model, catalogue.images()),
            Guest(both, catalogue.images(), lambda both, batch: both["two"](both["one"](batch[0]))),
            Guest(nn.SyncBatchNorm.convert_sync_batchnorm(model), catalogue.images()),
        ]
        for guest in guests if rank == 0 else []:
            for data in (False, True):
                before = fingerprint(guest)
                diagnosis = diagnose(guest, data=data)
                assert not changed(before, guest)
                assert diagnosis is not None
                assert not any(f.module.startswith("module.") for f in diagnosis.findings)
        dist.monitored_barrier(timeout=timedelta(seconds=60))
        model.eval()(torch.randn(4, 3, 8, 8))  # all of them: it still works together
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("world", [1, 2])
def test_one_rank_may_check_alone(world: int, tmp_path: Path) -> None:
    processes = multiprocessing.spawn(
        one_rank_checks, (world, str(tmp_path / "meeting")), nprocs=world, join=False
    )
    assert processes is not None
    for _ in range(world):
        processes.join(timeout=120)
    assert all(process.exitcode == 0 for process in processes.processes)


# --- what it asks of a loader ---


def test_no_more_of_a_loader_is_read_than_is_looked_at() -> None:
    asked = []

    def endless() -> Iterator[Tensor]:
        while True:
            asked.append(1)
            yield torch.randn(6, 6)

    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    diagnosis = check(model, endless(), most_batches=3)
    assert diagnosis.conditions["batches"] == len(asked) == 3
    with pytest.raises(InputError, match="no batches"):
        check(model, iter([]))


def test_a_loader_that_fills_one_tensor_again_and_again() -> None:
    """A batch is kept as it was, for the pass that rules may ask for."""
    filled = torch.zeros(6, 6)
    seen: list[Tensor] = []

    def refilled() -> Iterator[Tensor]:
        for number in range(3):
            yield filled.fill_(number)

    def forward(model: nn.Module, batch: Tensor) -> Tensor:
        seen.append(batch.clone())
        return model(batch)

    guest = catalogue.residual()
    with untouched(guest.model):
        observation = observed(nn.Sequential(nn.BatchNorm1d(6)), refilled(), forward, 64)
        while (batch := observation.spare()) is not None:
            observation.again(batch, nullcontext())
    assert [float(batch[0, 0]) for batch in seen] == [0, 0, 1, 1, 2, 2, 0, 1, 2]
