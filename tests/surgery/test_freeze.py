"""Frozen batch norms: through train(), copies, pickles, wrappers; as a guest; and thawed again."""

import copy
import io
import pickle
import pkgutil

import pytest
import torch
from torch import Tensor, nn

from normscope import InputError
from normscope.nn import BatchNorm
from normscope.surgery import freeze, recalibrate, unfreeze
from tests.surgery.test_recalibrate import differing, whole_state


class OwnBatchNorm(nn.BatchNorm2d):
    """A subclass with a train of its own."""

    trained = 0

    def train(self, mode: bool = True) -> "OwnBatchNorm":
        self.trained += 1
        return super().train(mode)


class Activated(nn.BatchNorm2d):
    """With a module inside, as timm's have."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.drop = nn.Dropout()


def network(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), norm(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 1), norm(4))
    )
    model[1].running_mean.fill_(1.0)
    return model.train()


def images() -> Tensor:
    return torch.randn(6, 3, 2, 2, generator=torch.Generator().manual_seed(0))


def statistics(model: nn.Module) -> list[list[float]]:
    return [b.flatten().tolist() for b in model.buffers()]


def assert_frozen(model: nn.Module) -> None:
    """Eval outputs of the norms, and no statistic moves, through every kind of train()."""
    before = statistics(model)
    for _ in range(2):
        model.eval()
        expected = model(images()) if not isinstance(model[1], nn.SyncBatchNorm) else None
        model.train()
        model(images())
        if expected is not None:
            assert torch.equal(model(images()), expected)
    assert model[0].training
    assert not model[1].training
    assert statistics(model) == before


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm2d, nn.SyncBatchNorm, BatchNorm, OwnBatchNorm], ids=lambda n: n.__name__
)
def test_it_stays_frozen_through_train(norm: type[nn.Module]) -> None:
    model = network(norm)
    keys, kinds = list(model.state_dict()), [type(m) for m in model.modules()]
    receipt = freeze(model)
    assert [change.module for change in receipt.changed] == ["1", "3.1"]
    assert receipt.before["layers that move their statistics"] == 2
    assert receipt.after["layers that move their statistics"] == 0
    assert_frozen(model)
    model[1].train()
    assert not model[1].training, "nor by its own train()"
    assert model[1].train() is model[1]
    assert list(model.state_dict()) == keys
    assert [type(m) for m in model.modules()] == kinds


def test_the_control_eval_alone_is_undone_by_train() -> None:
    model = network()
    model[1].eval()
    model.train()
    before = statistics(model)
    model(images())
    assert statistics(model) != before


def test_a_train_of_its_own_and_modules_inside_are_reached() -> None:
    model = network(OwnBatchNorm)
    freeze(model)
    count = model[1].trained
    model.train()
    assert model[1].trained == count + 1
    model = network(Activated)
    freeze(model)
    model.train()
    assert model[1].drop.training
    assert not model[1].training


def saved(model: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), saved],
    ids=["deepcopy", "pickle", "save"],
)  # fmt: skip
def test_copies_are_frozen_by_themselves(twin: object) -> None:
    model = network()
    freeze(model, parameters=True)
    other = twin(model)
    assert_frozen(other)
    unfreeze(other)
    assert other[1].train().training
    assert other[1].weight.requires_grad
    assert not model[1].train().training, "the original is its own"
    assert not model[1].weight.requires_grad


def test_a_state_dict_goes_in_and_out() -> None:
    model, plain = network(), network()
    freeze(model)
    plain.load_state_dict(model.state_dict())
    model.load_state_dict(plain.state_dict())
    assert_frozen(model)
    assert plain.train()[1].training, "a state dict freezes nobody"


def test_compiled_and_wrapped_models() -> None:
    model = network()
    compiled = torch.compile(model, backend="eager")
    freeze(compiled, "3")
    compiled.train()
    compiled(images())
    assert [model[1].training, model[3][1].training] == [True, False]
    assert int(model[3][1].num_batches_tracked) == 0
    assert int(model[1].num_batches_tracked) == 1, "the control"
    parallel = nn.DataParallel(network())
    assert freeze(parallel, "1").changed[0].module == "1"
    assert not parallel.train().module[1].training


@pytest.mark.parametrize(
    ("modules", "frozen"),
    [("1", [0]), ("3", [1]), ("3.*", [1]), (["1", "3.1"], [0, 1]), ("*1", [0, 1]), (None, [0, 1])],
)
def test_which(modules: object, frozen: list[int]) -> None:
    model = network()
    freeze(model, modules)
    norms = [model.train()[1], model[3][1]]
    assert [n for n in (0, 1) if not norms[n].training] == frozen


def test_gamma_and_beta_learn_unless_they_are_asked_not_to() -> None:
    model = network()
    freeze(model)
    assert model[1].weight.requires_grad
    model[1].bias.requires_grad_(False)
    receipt = freeze(model, parameters=True)
    assert [change.change for change in receipt.changed] == [
        "weight no longer learns",
        "weight and bias no longer learn",
    ]
    assert not any(p.requires_grad for p in model[1].parameters())
    unfreeze(model)
    assert model[1].weight.requires_grad
    assert not model[1].bias.requires_grad, "that was somebody else's doing"
    assert model[1].training


def test_twice_is_once() -> None:
    model = network()
    freeze(model)
    receipt = freeze(model)
    assert not receipt.changed
    assert {left.reason for left in receipt.left} == {"it was frozen before"}


def test_the_flag_that_does_not_freeze_is_put_back() -> None:
    """Batch statistics in training, old buffers in eval: what Lightning's freeze leaves."""
    model = network()
    model[1].track_running_stats = False
    receipt = freeze(model)
    assert "track_running_stats is True again" in receipt.changed[0].change
    assert_frozen(model)


def test_recalibration_leaves_it_alone_also_in_eval() -> None:
    model = network()
    freeze(model, "1")
    before = model[1].running_mean.clone()
    receipt = recalibrate(model.eval(), [images()])
    assert torch.equal(model[1].running_mean, before)
    assert receipt.left[0].reason == "it is frozen, by normscope.freeze"


def test_never_collected_is_said() -> None:
    model = network()
    assert "never collected" in freeze(model, "3").notes[1]
    assert len(freeze(model, "1").notes) == 1


@pytest.mark.parametrize(
    ("model", "modules", "says"),
    [
        (nn.Linear(2, 2), None, "Linear has nothing to freeze"),
        (nn.BatchNorm1d(2, track_running_stats=False), None, "in eval mode, too"),
        (nn.LazyBatchNorm1d(), None, "holds no numbers yet"),
        (network(), "nowhere", "'nowhere' is the path of none .* '1', '3.1'"),
        (network(), ["1", "nope.*"], "'nope.*'"),
    ],
)
def test_what_cannot_be_frozen_is_a_sentence(model: nn.Module, modules: object, says: str) -> None:
    before = whole_state(model) if not isinstance(model, nn.LazyBatchNorm1d) else {}
    with pytest.raises(InputError, match=says):
        freeze(model, modules)
    assert before == {} or not differing(before, whole_state(model))
    with pytest.raises(InputError, match="nothing is frozen"):
        unfreeze(network())


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize(
    "step", ["StaysInEval", "Change", "_figures", "_unfreeze", "_notes", "Receipt"]
)
@pytest.mark.parametrize("frozen", [False, True])
def test_whenever_it_raises_nothing_has_changed(
    step: str, call: int, frozen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, calls, name = network(), [], f"normscope.surgery._freeze.{step}"
    if frozen:
        freeze(model, parameters=True)
    original = pkgutil.resolve_name(name)

    def broken(*args: object, **options: object) -> object:
        calls.append(step)
        if len(calls) == call:
            raise KeyboardInterrupt
        return original(*args, **options)

    def attributes() -> list[set[str]]:
        return [set(vars(module)) for module in model.modules()]

    before, had = whole_state(model), attributes()
    monkeypatch.setattr(name, broken)
    try:
        unfreeze(model) if frozen else freeze(model, parameters=True)
    except KeyboardInterrupt:
        assert not differing(before, whole_state(model))
        assert attributes() == had
    else:
        assert len(calls) < call
        assert differing(before, whole_state(model)), "the control"
