"""`preserved` and its relatives: the guest leaves as it came, also when the block raises."""

import copy
import inspect
import io
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from types import CodeType, FrameType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from normscope.anatomy import (
    _preserved,
    batch_norm_layers,
    batch_statistics,
    modes_preserved,
    preserved,
)

TABLES = [name for name, value in vars(nn.Module()).items() if isinstance(value, (dict, set))]
SETTINGS = ("momentum", "track_running_stats", "eps", "num_features", "in_features", "stranger")


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x

    def right_inverse(self, x: Tensor) -> Tensor:
        return x / 2


class OddTensors(nn.Module):
    """Tensors that refuse one or another way of being copied, compared or written."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[int] = []
        self.codes = nn.Parameter(torch.ones(2, dtype=torch.int8), requires_grad=False)
        self.register_buffer("none", None)
        self.register_buffer("temporary", torch.ones(2), persistent=False)
        self.register_buffer("expanded", torch.tensor([[0.0, -torch.inf]]).expand(3, 2))
        self.register_buffer("nowhere", torch.ones(2, device="meta"))
        self.register_buffer("undefined", torch.tensor([torch.nan]))
        with torch.inference_mode():
            self.register_buffer("inferred", torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        self.log.append(len(x))
        return x


class LastState(nn.LSTM):
    """Keeps its parameters in a list besides."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[0]


def plain() -> nn.Sequential:
    model = nn.Sequential(
        nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.BatchNorm1d(3, momentum=None)
    )
    model[3].eval()
    model[0].bias.requires_grad_(False)
    model(torch.randn(6, 4)).square().sum().backward()
    return model


def frozen() -> nn.Sequential:
    return plain().eval().requires_grad_(False)


def half() -> nn.Sequential:
    return plain().to(torch.bfloat16)


def lazy() -> nn.Sequential:
    return plain().append(nn.LazyLinear(2)).append(nn.LazyBatchNorm1d())


def shared() -> nn.Sequential:
    model = plain()
    return model.append(model[1]).append(nn.Sequential(model[3]))


def hooked() -> nn.Sequential:
    model = plain()
    nothing = lambda *_: None  # noqa: E731
    for module in model:
        module.register_forward_hook(nothing, with_kwargs=True, always_call=True)
        module.register_forward_pre_hook(nothing, with_kwargs=True)
        module.register_full_backward_hook(nothing)
        module.register_full_backward_pre_hook(nothing)
        module.register_state_dict_post_hook(nothing)
        module.register_state_dict_pre_hook(nothing)
        module.register_load_state_dict_pre_hook(nothing)
        module.register_load_state_dict_post_hook(nothing)
    model[0].weight.register_hook(nothing)
    model[0].weight.register_post_accumulate_grad_hook(nothing)
    return model


def parametrized() -> nn.Sequential:
    model = plain()
    parametrize.register_parametrization(model[0], "weight", Doubled())
    parametrize.register_parametrization(model[1], "weight", Doubled())
    return model


def odd() -> nn.Sequential:
    return plain().append(OddTensors())


def recurrent() -> nn.Sequential:
    return plain().append(LastState(3, 2))


CATALOGUE = [plain, frozen, half, lazy, shared, hooked, parametrized, odd, recurrent]


def batch(model: nn.Module) -> Tensor:
    return torch.randn(5, 4, dtype=next(model.parameters()).dtype)


def entries(table: object) -> object:
    """What a table of a module or tensor holds: by identity, and in its order if it has one."""
    if isinstance(table, dict):
        return id(table), [(key, id(value)) for key, value in table.items()]
    return id(table), table and sorted(table)


def values_of(tensor: Tensor) -> str:
    """As text, in which NaN is NaN and a tensor without memory has some too."""
    return "" if tensor.is_meta else str(tensor.tolist())


def look(tensor: Tensor | None) -> object:
    """A tensor by identity, memory and value. A lazy one has no more than its type."""
    if tensor is None or is_lazy(tensor):
        return id(tensor), type(tensor)
    memory = tensor.untyped_storage()._cdata
    where = tensor.dtype, tensor.device, tensor.shape, tensor.stride(), memory
    hooks = entries(tensor._backward_hooks), entries(tensor._post_accumulate_grad_hooks)
    return id(tensor), type(tensor), tensor.requires_grad, where, values_of(tensor), hooks


def fingerprint(model: nn.Module) -> dict[str, object]:
    """Everything that a guest may not change, by value and by identity."""
    state: dict[str, object] = {"random": torch.get_rng_state().tolist()}
    state["saved"] = list(model.state_dict(keep_vars=True))
    for path, module in model.named_modules(remove_duplicate=False):
        state[path] = id(module), type(module), module.training, module._is_full_backward_hook
        state[f"{path}.tables"] = [entries(vars(module)[name]) for name in TABLES]
        state[f"{path}.settings"] = [getattr(module, name, None) for name in SETTINGS]
        state[f"{path}.log"] = list(getattr(module, "log", []))
        state[f"{path}.flat"] = [id(weight) for weight in getattr(module, "_flat_weights", [])]
        for name in getattr(module, "parametrizations", []):
            state[f"{path}.{name}"] = values_of(getattr(module, name))
        for name in ("weight", "bias"):
            state[f"{path}.{name} is computed"] = name in vars(type(module))
    for name, buffer in model.named_buffers():
        state[name] = look(buffer)
    for name, parameter in model.named_parameters():
        state[name] = look(parameter), look(parameter.grad)
    return state


def damage_modes(model: nn.Sequential) -> None:
    for module in model:
        module.train(not module.training)


def damage_buffers_in_place(model: nn.Sequential) -> None:
    model[:4].train()(batch(model))


def damage_every_buffer_in_place(model: nn.Sequential) -> None:
    for layer in batch_norm_layers(model[:4]).values():
        layer.reset_running_stats()
        layer.num_batches_tracked += 7


def damage_buffer_objects(model: nn.Sequential) -> None:
    model[1].running_mean = torch.full((3,), 7.0)
    model[1].register_buffer("stranger", torch.zeros(1))
    del model[3].num_batches_tracked


def damage_buffers_that_are_none(model: nn.Sequential) -> None:
    model[1].running_mean = None
    for module in model.modules():
        if module._buffers.get("none", 0) is None:
            module.none = torch.ones(1)


def damage_buffer_shapes(model: nn.Sequential) -> None:
    model[1].running_mean.resize_(50)
    model[3].running_var.resize_(1)
    model[3].running_mean.data = torch.zeros(9)


def damage_persistence(model: nn.Sequential) -> None:
    model[1].register_buffer("running_mean", model[1].running_mean, persistent=False)
    if hasattr(model[-1], "temporary"):
        model[-1].register_buffer("temporary", model[-1].temporary)


def damage_dtype(model: nn.Sequential) -> None:
    model[:4].half()


def damage_dtype_of_everything(model: nn.Sequential) -> None:
    model.double()


def damage_device(model: nn.Sequential) -> None:
    model[:4].to("meta")


def damage_parameter_memory(model: nn.Sequential) -> None:
    for parameter in model[:4].parameters():
        parameter.requires_grad_(False).data = torch.ones(2, dtype=torch.int8)
    for codes in (p for p in model.parameters() if p.dtype == torch.int8):
        codes.data = torch.ones(2)
        codes.requires_grad_(True)


def damage_parameter_objects(model: nn.Sequential) -> None:
    model[1].bias = nn.Parameter(torch.zeros(3))
    model[3].register_parameter("stranger", nn.Parameter(torch.zeros(1)))
    del model[3].weight


def damage_submodules(model: nn.Sequential) -> None:
    model[1] = nn.Identity()
    model[0].add_module("stranger", nn.ReLU())
    del model[3]


def damage_parametrizations(model: nn.Sequential) -> None:
    parametrize.register_parametrization(model[0], "bias", Doubled())
    parametrize.register_parametrization(model[3], "weight", Doubled())


def damage_parametrizations_by_removal(model: nn.Sequential) -> None:
    parametrize.register_parametrization(model[3], "weight", Doubled())
    for module in model:
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def damage_list_of_weights(model: nn.Sequential) -> None:
    for module in model.modules():
        for name, _ in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(torch.ones(1)))


def damage_laziness(model: nn.Sequential) -> None:
    model[:4].eval()
    model[0].in_features = 0
    model(batch(model))


def damage_settings(model: nn.Sequential) -> None:
    model[1].momentum = 1.0
    model[1].track_running_stats = False
    model[3].eps = 1.0
    model[3].momentum = 0.5
    model[2].stranger = "here"


def damage_gradients(model: nn.Sequential) -> None:
    model[:4].requires_grad_(True)
    model[:4](batch(model).requires_grad_()).sum().backward()
    model[0].bias.requires_grad_(True)
    model[1].bias.requires_grad_(False).grad = None


def damage_hooks(model: nn.Sequential) -> None:
    model[1].register_forward_hook(lambda *_: None)
    model[0].register_forward_pre_hook(lambda *_: None)
    model[3].register_full_backward_hook(lambda *_: None)
    model[3].bias.requires_grad_(True).register_hook(lambda _: None)
    model[3].bias.register_post_accumulate_grad_hook(lambda _: None)


def damage_hooks_by_removal(model: nn.Sequential) -> None:
    model[1].register_forward_hook(lambda *_: None, with_kwargs=True, always_call=True)
    for module in model:
        for name in TABLES:
            if "hooks" in name:
                vars(module)[name].clear()
        module._is_full_backward_hook = None
    for parameter in model.parameters():
        for table in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks):
            (table or {}).clear()
        parameter._backward_hooks = parameter._post_accumulate_grad_hooks = None
    model[0]._forward_hooks = OrderedDict()


def damage_random_state(model: nn.Sequential) -> None:
    torch.manual_seed(99)


DAMAGES = [value for name, value in list(globals().items()) if name.startswith("damage_")]


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("build", CATALOGUE, ids=lambda build: build.__name__)
def test_damage_is_undone(
    build: Callable[[], nn.Sequential], damage: Callable[[nn.Sequential], None], raises: bool
) -> None:
    model = build()
    before = fingerprint(model)
    try:
        with preserved(model):
            damage(model)
            assert fingerprint(model) != before, "the control: this block does damage"
            if raises:
                raise RuntimeError  # noqa: TRY301
    except RuntimeError:
        assert raises
    assert fingerprint(model) == before


def handles_of(module: nn.Module) -> Iterator[object]:
    nothing = lambda *_: None  # noqa: E731
    yield module.register_forward_hook(nothing, with_kwargs=True, always_call=True)
    yield module.register_forward_pre_hook(nothing, with_kwargs=True)
    yield module.register_full_backward_hook(nothing)
    yield module.weight.register_hook(nothing)
    yield module.weight.register_post_accumulate_grad_hook(nothing)


@pytest.mark.parametrize("damage", [damage_hooks, damage_hooks_by_removal])
def test_hooks_of_the_users_can_still_be_removed(damage: Callable[[nn.Module], None]) -> None:
    model = plain()
    tables = [vars(model[1])[name] for name in TABLES if "hooks" in name]
    handles = list(handles_of(model[1]))
    with preserved(model):
        damage(model)
    assert sum(map(len, tables)) == 6
    for handle in handles:
        handle.remove()
    weight = model[1].weight
    assert not any([*tables, weight._backward_hooks, weight._post_accumulate_grad_hooks])


def test_a_hook_that_is_removed_inside_comes_back_with_its_flag() -> None:
    seen = []
    model = nn.Sequential(nn.Linear(4, 3))
    handle = model[0].register_forward_hook(
        lambda module, args, kwargs, out: seen.append(kwargs), with_kwargs=True
    )
    with preserved(model):
        handle.remove()
    model[0](input=torch.ones(1, 4))
    assert [list(kwargs) for kwargs in seen] == [["input"]]


def test_a_lazy_model_still_learns_its_shapes_afterwards() -> None:
    model = lazy()
    with preserved(model):
        model(torch.randn(5, 4))
    assert model(torch.randn(5, 4)).shape == (5, 2)
    assert model[4].in_features == 3


def test_a_parametrized_model_still_computes_afterwards() -> None:
    model = parametrized().eval()
    x = torch.randn(5, 4)
    before = model(x)
    with preserved(model):
        damage_parametrizations_by_removal(model)
        damage_parametrizations(model)
    torch.testing.assert_close(model(x), before, rtol=0, atol=0)


def test_a_graph_from_before_can_still_be_differentiated() -> None:
    model = plain().train()
    loss = model(torch.randn(5, 4)).square().sum()
    evaluated = model.eval()(torch.randn(5, 4)).square().sum()
    with preserved(model):
        model.train()(torch.randn(5, 4))
    model.zero_grad()
    loss.backward()
    assert model[0].weight.grad is not None
    model.zero_grad()
    evaluated.backward()
    assert model[0].weight.grad is not None


def test_sparse_gradients_are_kept() -> None:
    table = nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 2])).sum().backward()
    gradient, values = table.weight.grad, table.weight.grad.to_dense()
    with preserved(table):
        table(torch.tensor([2, 3])).sum().backward()
        table.weight.grad.mul_(3)
        assert not torch.equal(table.weight.grad.to_dense(), values), "the control"
    assert table.weight.grad is gradient
    assert torch.equal(gradient.to_dense(), values)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_model_can_be_trained_after_a_block_in_any_gradient_mode(mode: type) -> None:
    model = plain()
    before = fingerprint(model)
    with mode(), preserved(model):
        model.train()(torch.randn(5, 4))
        model.double()
    assert fingerprint(model) == before
    model(torch.randn(5, 4)).sum().backward()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_is_kept() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    file = io.BytesIO()
    torch.jit.save(model, file)
    file.seek(0)
    for scripted in (model, torch.jit.load(file)):
        values = [buffer.tolist() for buffer in scripted.buffers()]
        with preserved(scripted):
            scripted(torch.randn(5, 4))
            assert [buffer.tolist() for buffer in scripted.buffers()] != values, "the control"
            scripted.eval()
        assert [buffer.tolist() for buffer in scripted.buffers()] == values
        assert all(module.training for module in scripted.modules())


@pytest.mark.parametrize("values", [False, True])
def test_values_of_parameters_are_kept_where_that_is_asked_for(values: bool) -> None:
    model = plain()
    before = copy.deepcopy(model[0].weight)
    with preserved(model, values=values), torch.no_grad():
        model[0].weight.data.fill_(5)
    assert torch.equal(model[0].weight, before) == values, "so says the docstring"


class Hoarder(nn.Linear):
    """Keeps things where torch does not look."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.hidden = {"norms": [nn.BatchNorm1d(4), (nn.BatchNorm1d(4),)]}
        self.queue: deque[Tensor] = deque([torch.zeros(4)], maxlen=2)
        self.counts: defaultdict[str, list[int]] = defaultdict(list)
        self.center = torch.zeros(4)
        self.itself = [self.hidden]
        self.itself.append(self.itself)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden["norms"][1][0](self.hidden["norms"][0](super().forward(x)))
        self.queue.append(x)
        self.queue[0].add_(1)
        self.counts["rows"].append(len(x))
        self.center.mul_(0.9).add_(x.detach().mean(dim=0) + 1)
        return x

    def held(self) -> object:
        norms = [self.hidden["norms"][0], self.hidden["norms"][1][0]]
        statistics = [(n.training, [b.tolist() for b in n.buffers()]) for n in norms]
        queue = [(id(t), t.tolist()) for t in self.queue]
        return statistics, queue, dict(self.counts), self.center.tolist(), len(self.itself)


def test_what_torch_does_not_see_is_kept_too() -> None:
    model = Hoarder()
    before = model.held()
    with preserved(model), torch.no_grad():
        model(torch.randn(5, 4))
        model.hidden["norms"].pop(0).eval()
        model.itself.clear()
        assert len(model.queue) == 2, "the control"
    assert model.held() == before
    assert model.counts["new"] == [], "it still makes lists"


def is_generator(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_GENERATOR)


def damaged_and_put_back(call_to_interrupt: int, *, raises: bool) -> tuple[bool, int]:
    """Whether all is as it was, and how many calls putting it back took."""
    model, calls = plain(), 0
    before = fingerprint(model)

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        code = frame.f_code
        # What is planted where a generator goes on would skip its handlers; no interrupt does.
        if event != "call" or code.co_filename != _preserved.__file__ or is_generator(code):
            return
        calls += 1
        if calls == call_to_interrupt:
            raise KeyboardInterrupt

    try:
        with preserved(model):
            damage_modes(model)
            damage_settings(model)
            damage_every_buffer_in_place(model)
            sys.setprofile(profile)
            if raises:
                model.get_submodule("there is none")
    except (KeyboardInterrupt, AttributeError) as error:
        assert isinstance(error, KeyboardInterrupt) == (call_to_interrupt > 0)
    finally:
        sys.setprofile(None)
    return fingerprint(model) == before, calls


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
def test_an_interrupt_at_any_call_while_it_is_put_back_waits(raises: bool) -> None:
    whole, calls = damaged_and_put_back(0, raises=raises)
    assert whole
    assert calls > 50
    kept = [damaged_and_put_back(call, raises=raises)[0] for call in range(1, calls + 1)]
    assert all(kept)


class Stubborn(Tensor):
    """A tensor that cannot be written any more, once the model says so."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ == "copy_":
            raise ValueError("stubborn")
        return super().__torch_function__(func, types, args, kwargs or {})


def stubborn() -> nn.Sequential:
    model = plain()
    model[1].running_mean = torch.ones(3).as_subclass(Stubborn)
    return model


def damage_beyond_repair(model: nn.Sequential) -> None:
    for damage in (damage_modes, damage_every_buffer_in_place, damage_settings, damage_gradients):
        damage(model)


def test_what_cannot_be_put_back_is_named_and_everything_else_is() -> None:
    model = stubborn()
    before = fingerprint(model)
    with (
        pytest.raises(ExceptionGroup, match="could not be put back") as raised,
        preserved(model),
    ):
        damage_beyond_repair(model)
    (failure,) = raised.value.exceptions
    assert str(failure) == "stubborn"
    assert "buffer '1.running_mean'" in failure.__notes__[0]
    after = fingerprint(model)
    assert [name for name in before if before[name] != after[name]] == ["1.running_mean"]


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt])
def test_the_exception_of_the_block_is_never_hidden(kind: type[BaseException]) -> None:
    model = stubborn()
    before = fingerprint(model)
    error = kind("the block's own")
    with pytest.raises(kind) as raised, preserved(model):
        damage_beyond_repair(model)
        raise error
    assert raised.value is error
    assert any("1.running_mean" in note and "stubborn" in note for note in error.__notes__)
    after = fingerprint(model)
    assert [name for name in before if before[name] != after[name]] == ["1.running_mean"]


@pytest.mark.parametrize("raises", [False, True], ids=["returns", "raises"])
@pytest.mark.parametrize("build", CATALOGUE, ids=lambda build: build.__name__)
def test_modes_preserved_keeps_modes_and_nothing_else(
    build: Callable[[], nn.Sequential], raises: bool
) -> None:
    model = build()
    modes = [module.training for module in model.modules()]
    try:
        with modes_preserved(model):
            damage_modes(model)
            damage_settings(model)
            assert [module.training for module in model.modules()] != modes, "the control"
            if raises:
                raise RuntimeError  # noqa: TRY301
    except RuntimeError:
        assert raises
    assert [module.training for module in model.modules()] == modes
    assert model[1].momentum == 1.0, "cheap: it keeps no more"


def test_batch_statistics_normalize_by_the_batch_and_track_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.9), nn.BatchNorm1d(3, affine=False)).eval()
    buffers = copy.deepcopy(list(model.buffers()))
    x = torch.randn(50, 4)
    with batch_statistics(model), torch.no_grad():
        y = model(x)
    torch.testing.assert_close(y.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(dim=0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    assert all(map(torch.equal, buffers, model.buffers()))
    with torch.no_grad():
        assert model(x).mean(dim=0).abs().max() > 0.01, "the control: eval mode is another thing"


def test_batch_norm_layers_are_found_once_by_path() -> None:
    shared = nn.BatchNorm1d(3)
    model = nn.ModuleDict({"a": nn.Sequential(shared, nn.LayerNorm(3)), "b": shared})
    assert list(batch_norm_layers(model)) == ["a.0"]
