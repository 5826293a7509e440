"""Modules that stay in eval mode, whoever calls `train()` on them or on the model around them."""

from torch import nn


class StaysInEval:
    """Stands in the place of a module's `train`, as an attribute of that one module.

    It is copied, pickled and saved with the module, adds nothing to a state dict, and leaves the
    module's class and hooks as they are.

    Args:
        module: whose `train` it is.
        learned: names of the module's parameters that asked for a gradient before.
    """

    def __init__(self, module: nn.Module, learned: tuple[str, ...] = ()) -> None:
        self._module = module
        self.learned = learned

    def __call__(self, mode: bool = True) -> nn.Module:  # noqa: FBT001, FBT002 - PyTorch's
        """Set the mode of what is inside the module; its own stays eval."""
        type(self._module).train(self._module, mode)
        self._module.training = False
        return self._module


def freeze_of(module: nn.Module) -> StaysInEval | None:
    """What holds a module in eval mode; None if nothing does.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> vars(norm)["train"] = StaysInEval(norm)
        >>> norm.train().training, freeze_of(norm) is None
        (False, False)
    """
    held = vars(module).get("train")
    return held if isinstance(held, StaysInEval) else None
