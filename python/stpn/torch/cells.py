"""One step at a time, with the conventions of nn.LSTMCell."""
from __future__ import annotations  # Python 3.9

from typing import Any

import torch

from .layers import _Units
from .states import State, checked, one_state


class Cell(_Units):
    """Any unit, by name, one step at a time.

    Args: as for Layer, without those of sequences. Parameters have the unit's names: weight, bias, lambda_
    (a word of Python's without the underscore), gamma.

    A loop of cells keeps F of every step for the gradient; a Layer does not, and is faster.
    """

    def __init__(self, unit: str, input_size: int, hidden_size: int, *, implementation: str = "auto",
                 device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, **options: Any) -> None:
        super().__init__()
        self._build(unit, input_size, hidden_size, 1, options, implementation, device, dtype)

    def _parameter_name(self, name, layer):
        return "lambda_" if name == "lambda" else name  # a word of Python's

    def forward(self, x: torch.Tensor, state: State | None = None, *, hx: State | None = None) -> Any:
        """One step.

        Args:
            x: (B, I), or (I) without a batch, with the types of Layer.forward; or tokens (B).
            state: one tensor where the unit has one, else a tuple, h first, each (B, ...), or without the batch; None: zeros.
            hx: the state by nn.LSTMCell's name for it, in place of `state`.

        Returns the next state; the unit's output is its first tensor. Of a unit without h in its state (stpn_f, hebbff, mlp) the
        result is (output, state). The errors are those of Layer.forward.
        """
        state = one_state(state, hx)
        x, batched = self._checked_inputs(x, 2, 1)
        if not batched:
            x = x.unsqueeze(0)
        names, parts = self.states.names, ()
        if state is not None:
            parts = (state,) if isinstance(state, torch.Tensor) else tuple(state)
            if len(parts) != len(names) or not all(isinstance(part, torch.Tensor) for part in parts):
                raise ValueError(f"the state must be tensors: {', '.join(names) or 'none'}")
            if not batched:
                parts = [part.unsqueeze(0) for part in parts]
            parts = [checked(f"{name} of the state", part, (x.shape[0], *shape), self._first_parameter())
                     for name, part, shape in zip(names, parts, self.states.shapes[0])]
        y, finals = self._run(0, True, x, None, None, parts)
        if not batched:
            y, finals = y.squeeze(0), [final.squeeze(0) for final in finals]
        state = self.states.pack(finals)
        return state if "h" in names else (y, state)


class STPNCell(Cell):
    """One step of STPN: (h, F) to the next (h, F). Arguments are those of STPN that are not about sequences.

    >>> cell = STPNCell(17, 55)
    >>> h, F = cell(torch.randn(512, 17))
    >>> h, F = cell(torch.randn(512, 17), (h, F))
    """

    def __init__(self, input_size: int, hidden_size: int, *, implementation: str = "auto",
                 device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, **options: Any) -> None:
        super().__init__("stpn_r", input_size, hidden_size, implementation=implementation, device=device, dtype=dtype, **options)
