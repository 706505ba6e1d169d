"""Multiply-adds of any work, as torch is asked for them: forward, backward, gradients of gradients."""

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class _Counter(TorchDispatchMode):
    """Counts what convolutions and matrix products come to, by torch's own formulas.

    Torch's FlopCounterMode also asks which module is at work, with hooks that ``autograd.grad`` does not allow.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += int(formula(*args, **kwargs, out_val=made))
        return made


def macs_of(work: Callable[[], Any]) -> float:
    """Do ``work`` and return the multiply-adds of its convolutions and matrix products."""
    counter = _Counter()
    with counter:
        work()
    return counter.flops / 2
