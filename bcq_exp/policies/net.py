"""Modules as the losses call them."""

from collections.abc import Callable
from typing import Any

from torch import Tensor


class Net:
    """A module whose output has the form that the losses take.

    Args:
        module: of any library.
        is_scalar: flatten the output: (B, 1) values become (B,).
        is_recurrent: the module may return the pair (output, state); the output is passed on, and the state is kept in
            `state_next`.
        state: a recurrent module's second input; None: the module is called without it.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        *,
        is_scalar: bool = False,
        is_recurrent: bool = False,
        state: Any = None,
    ) -> None:
        self.module, self.is_scalar, self.is_recurrent, self.state = module, is_scalar, is_recurrent, state
        self.state_next: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        """The module's output, without its state."""
        out = self.module(*inputs) if self.state is None else self.module(*inputs, self.state)
        if self.is_recurrent and isinstance(out, tuple):
            out, self.state_next = out
        return out.flatten() if self.is_scalar else out
