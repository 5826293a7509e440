"""`parameter_groups` and `exempt_norms`: norm layers out of weight decay."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from normscope._errors import InputError
from normscope.anatomy import norm_parameters
from normscope.records import Change, Receipt

Group = dict[str, Any]


def parameter_groups(model: nn.Module, *, weight_decay: float, biases: bool = False) -> list[Group]:
    """All parameters of a model in groups for an optimizer, norm layers out of weight decay.

    Norm layers are batch, instance, layer, group and RMS norms, their subclasses, and what is
    called or built like one. Each parameter is in one group, once, also where modules share it;
    frozen ones (``requires_grad=False``) too, so that they may be thawed later.

    Args:
        model: any.
        weight_decay: of everything else.
        biases: whether the biases of other layers are out of it as well.

    Raises:
        InputError: if the weight decay is below zero, or the model has no parameters.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> groups = parameter_groups(model, weight_decay=0.05)
        >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)
        >>> [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
        [(2, 0.05), (2, 0.0)]
    """
    if not weight_decay >= 0:
        msg = f"weight_decay is {weight_decay}; it must be 0 or more"
        raise InputError(msg)
    exempt = _exempt(model, biases=biases)
    parameters = list(model.parameters())
    if not parameters:
        msg = f"parameter_groups: {type(model).__name__} has no parameters."
        raise InputError(msg)
    decayed = [parameter for parameter in parameters if id(parameter) not in exempt]
    others = [parameter for parameter in parameters if id(parameter) in exempt]
    groups = [(decayed, float(weight_decay)), (others, 0.0)]
    return [{"params": held, "weight_decay": decay} for held, decay in groups if held]


def exempt_norms(optimizer: Optimizer, model: nn.Module, *, biases: bool = False) -> Receipt:
    """Take norm layers out of an optimizer's weight decay, in place.

    A group that has others besides is split: the new group, at the end, has its options (learning
    rate, momenta, …) but for the decay. What the optimizer remembers of each parameter stays. All
    or nothing: if anything raises, the groups are as they were.

    Args:
        optimizer: made for `model`.
        model: any.
        biases: whether the biases of other layers are taken out as well.

    Returns:
        The parameters that were decayed, each with by how much.

    Raises:
        InputError: if the optimizer holds no norm parameter of the model, or a learning-rate
            scheduler was made for its groups.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        >>> exempt_norms(optimizer, model).changed[0].module
        '1.weight'
        >>> [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups]
        [(2, 0.01), (2, 0.0)]
    """
    exempt = _exempt(model, biases=biases)
    _refuse(optimizer, model, exempt)
    groups = optimizer.param_groups
    before = _figures(groups, exempt)
    kept = [dict(group) for group in groups]
    changed: dict[int, float] = {}
    added: list[Group] = []
    try:
        for group in list(groups):
            if not group.get("weight_decay"):
                continue
            out = {id(parameter) for parameter in group["params"]} & exempt.keys()
            changed |= dict.fromkeys(out, float(group["weight_decay"]))
            if len(out) == len(group["params"]):
                group["weight_decay"] = 0.0
            elif out:
                added.append(_split(group, out))
        groups.extend(added)
        return Receipt(
            operation="exempt_norms",
            changed=tuple(
                Change(module=name, change=f"its weight decay was {changed[key]:g} and is 0")
                for key, name in exempt.items()
                if key in changed
            ),
            notes=_notes(len(added)) if changed else (),
            before=before,
            after=_figures(groups, exempt),
        )
    except BaseException:
        del groups[len(kept) :]
        for group, old in zip(groups, kept, strict=True):
            group.clear()
            group.update(old)
        raise


def _exempt(model: nn.Module, *, biases: bool) -> dict[int, str]:
    """The names of the parameters that are not to decay, by identity, in the model's order."""
    norms = {id(parameter) for parameter in norm_parameters(model).values()}
    return {
        id(parameter): name
        for name, parameter in model.named_parameters()
        if id(parameter) in norms
        or (biases and name.replace(".original", "").rpartition(".")[2] == "bias")
    }


def _refuse(optimizer: Optimizer, model: nn.Module, exempt: dict[int, str]) -> None:
    """Where it cannot be done.

    Raises:
        InputError: saying why.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not held & exempt.keys():
        msg = (
            f"exempt_norms: the optimizer holds none of the {len(exempt)} parameters of "
            f"{type(model).__name__} that it is about; pass the model that it was made for."
        )
        raise InputError(msg)
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        msg = (
            "exempt_norms: a learning-rate scheduler was made for this optimizer's groups, and "
            "would not know new ones. Take the norms out first, then make the scheduler."
        )
        raise InputError(msg)


def _split(group: Group, out: set[int]) -> Group:
    """Take parameters out of a group; a new one with its options holds them."""
    lists = [name for name in ("params", "param_names") if name in group]
    goes = [id(parameter) in out for parameter in group["params"]]
    new = {**group, "weight_decay": 0.0}
    for name in lists:
        new[name] = [entry for entry, gone in zip(group[name], goes, strict=True) if gone]
        group[name] = [entry for entry, gone in zip(group[name], goes, strict=True) if not gone]
    return {name: _own(value) for name, value in new.items()}


def _own(value: Any) -> Any:
    """A learning rate that is a tensor is written to in place, so that each group needs its own."""
    return value.clone() if isinstance(value, Tensor) else value


def _notes(added: int) -> tuple[str, ...]:
    cure = "This cures the cause from the next step on; what was decayed so far is not given back."
    if not added:
        return (cure,)
    saved = (
        f"The optimizer has {added} more group{'s' if added > 1 else ''}: a state dict that was "
        "saved before does not fit any more. Load first, then take the norms out."
    )
    return cure, saved


def _figures(groups: list[Group], exempt: dict[int, str]) -> dict[str, float]:
    decayed = sum(
        id(parameter) in exempt
        for group in groups
        if group.get("weight_decay")
        for parameter in group["params"]
    )
    return {"groups": float(len(groups)), "of these parameters, decayed": float(decayed)}
