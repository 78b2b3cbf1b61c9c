"""Layers with the conventions of nn.LSTM, one class a unit."""
from __future__ import annotations  # Python 3.9

import sys
import warnings
from typing import TYPE_CHECKING, Any, Sequence, overload

import torch
from torch.nn import Module, Parameter
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ..library import Unit, integer
from .autograd import sequence
from .spec import DTYPES, spec, text_of
from .states import State, StateLayout, one_state

_TWO = "bidirectional layers are not there: run a second layer on x.flip(0)"
IMPLEMENTATIONS = ("auto", "c", "plain")


def _draw_seed():
    """From PyTorch's generator, so that torch.manual_seed decides."""
    return int(torch.randint(2**63 - 1, (1,), device="cpu"))


def _level_of_caller():
    """The stacklevel of a warning about the line, outside this file, that makes a layer: of whichever class."""
    level, frame = 1, sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == __file__:
        level, frame = level + 1, frame.f_back
    return level


class _Units(Module):
    """What layers and cells share: units one on the other, their parameters and state."""

    def _build(self, unit, input_size, hidden_size, num_layers, options, implementation, device, dtype):
        self.input_size = integer("input_size", input_size, 1)
        self.hidden_size = integer("hidden_size", hidden_size, 1)
        self.num_layers = integer("num_layers", num_layers, 1)
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f'implementation is "{implementation}", expected one of {", ".join(IMPLEMENTATIONS)}')
        self.implementation = implementation
        dtype = dtype or torch.get_default_dtype()
        if dtype not in DTYPES:
            raise TypeError(f"dtype is {dtype}, expected torch.float32 or torch.float64")
        self.unit = Unit(unit, self.hidden_size, **options)
        widths = [self.input_size] + [self.hidden_size] * (self.num_layers - 1)
        self._texts = {kind: [text_of(self.unit, width, kind) for width in widths] for kind in DTYPES}
        told = [spec(text) for text in self._texts[dtype]]
        self.states = StateLayout(told)
        self._names = [[self._parameter_name(name, layer) for name in each.parameter_shapes] for layer, each in enumerate(told)]
        for names, each in zip(self._names, told):
            for name, shape in zip(names, each.parameter_shapes.values()):
                self.register_parameter(name, Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def _parameter_name(self, name, layer):
        return f"{name}_l{layer}"

    def reset_parameters(self) -> None:
        """Draws the initial parameters of the paper anew (docs/units/); torch.manual_seed decides which."""
        with torch.no_grad():
            for layer, names in enumerate(self._names):
                parameters = [getattr(self, name) for name in names]
                if parameters[0].is_meta:
                    continue
                drawn = spec(self._texts[parameters[0].dtype][layer]).initial(_draw_seed())
                for parameter, values in zip(parameters, drawn.values()):
                    parameter.copy_(values)

    def extra_repr(self) -> str:
        words = [f"{self.input_size}, {self.hidden_size}"] + [f"num_layers={self.num_layers}"] * (self.num_layers > 1)
        words += [f"{'lambda_' if name == 'lambda' else name}={value!r}" for name, value in self.unit._changed().items()]
        return ", ".join(words)

    def parameter_names(self, layer: int = 0) -> dict[str, str]:
        """{name in the C library: name here} of a layer: {"weight": "weight_l0", ...}."""
        return dict(zip(spec(self._texts[torch.float32][layer]).parameter_shapes, self._names[layer]))

    def _in_plain(self, parameter):
        if self.implementation == "auto":
            return not parameter.is_cpu
        if self.implementation == "c" and not parameter.is_cpu:
            raise RuntimeError(f'implementation is "c", which runs on the CPU, and the parameters are on {parameter.device}')
        return self.implementation == "plain"

    def _layer_parameters(self, layer):
        own, names = self._parameters, self._names[layer]
        try:
            return [own[name] for name in names]
        except KeyError:  # parametrised: it is computed
            return [getattr(self, name) for name in names]

    def _run(self, layer, is_step, x, lengths, reset, states):
        parameters = self._layer_parameters(layer)
        texts = self._texts.get(parameters[0].dtype)
        if texts is None:
            raise TypeError(f"the parameters are {parameters[0].dtype}, expected torch.float32 or torch.float64")
        in_plain = self._in_plain(parameters[0])
        try:
            return sequence(texts[layer], in_plain, is_step, x, lengths, reset, states, parameters)
        except ValueError as problem:
            if self.num_layers == 1:
                raise
            raise ValueError(f"layer {layer}: {str(problem).replace('units.0.', '')}") from None

    def _first_parameter(self):
        found = self._parameters.get(self._names[0][0])
        return self._layer_parameters(0)[0] if found is None else found

    def _checked_inputs(self, x, batched, unbatched):
        """x of a type that a layer takes; `batched` and `unbatched` are its dimensions, one less for tokens. Returns x and
        whether it has a batch."""
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x is a {type(x).__name__}, expected a tensor")
        parameter = self._first_parameter()
        if x.dtype is parameter.dtype and x.dim() == batched and x.shape[-1] == self.input_size and x.device == parameter.device:
            return x, True
        if x.device != parameter.device:
            raise RuntimeError(f"x is on {x.device}, the parameters are on {parameter.device}")
        if x.is_floating_point():
            if x.dtype is not parameter.dtype:
                if not torch.is_autocast_enabled(x.device.type):
                    raise TypeError(f"x is {x.dtype}, the parameters are {parameter.dtype}")
                x = x.to(parameter.dtype)
        elif x.dtype in (torch.int32, torch.int64):
            if x.dim() not in (batched - 1, unbatched - 1):
                raise ValueError(f"x has {x.dim()} dimensions, and as {x.dtype} is taken for tokens: expected {batched - 1}, or "
                                 f"{unbatched - 1} without a batch; vectors are {parameter.dtype}")
            if x.dtype is torch.int64:  # what does not fit into 32 bits becomes a token that is refused
                x = x.clamp(-2**31, 2**31 - 1).to(torch.int32)
            batched, unbatched = batched - 1, unbatched - 1
        elif x.dtype is not torch.uint8:
            raise TypeError(f"x is {x.dtype}, expected {parameter.dtype}, torch.uint8, or torch.int32 or int64 as tokens")
        if x.dim() not in (batched, unbatched):
            raise ValueError(f"x has {x.dim()} dimensions, expected {batched}, or {unbatched} without a batch")
        if x.dtype is not torch.int32 and x.shape[-1] != self.input_size:
            raise ValueError(f"x has {x.shape[-1]} inputs a step, expected {self.input_size}")
        return x, x.dim() == batched


class Layer(_Units):
    """Any unit, by name, as a layer for sequences; the classes below are this with the unit's name and options.

    Args:
        unit: "stpn_r", "lstm", ... (stpn.Unit).
        input_size: I, the number of inputs of a step; for tokens the number of symbols.
        hidden_size: H, the number of neurons.
        num_layers: units one on the other, each the next one's input.
        batch_first: x and outputs are (B, T, ...) in place of (T, B, ...), reset too; states are not.
        dropout: probability with which an output of every layer but the last is zeroed in training.
        implementation: "auto": the C library on the CPU, plain PyTorch elsewhere; "c" or "plain" insists.
        device, dtype: of the parameters; float32 or float64.
        options: of the unit (docs/experiments.md#the-units-options).

    Attributes:
        unit: the stpn.Unit.
        input_size, hidden_size, num_layers, batch_first, dropout, implementation: as above.

    Parameters are the unit's tensors with `_l0`, `_l1`, ... behind their names: weight_l0, bias_l0, lambda_l0, gamma_l0.

    Raises TypeError and ValueError for what does not fit. Called, it is `forward`.
    """

    def __init__(self, unit: str, input_size: int, hidden_size: int, num_layers: int = 1, *, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, implementation: str = "auto",
                 device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, **options: Any) -> None:
        super().__init__()
        if bidirectional:
            raise ValueError(_TWO)
        if not isinstance(dropout, (int, float)) or isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout!r}, expected a number in [0, 1]")
        self.batch_first, self.dropout = bool(batch_first), float(dropout)
        self._build(unit, input_size, hidden_size, num_layers, options, implementation, device, dtype)
        if dropout and self.num_layers == 1:
            warnings.warn("dropout is between layers: with num_layers=1 it has no effect", stacklevel=_level_of_caller())

    def extra_repr(self) -> str:
        words = [super().extra_repr()] + ["batch_first=True"] * self.batch_first
        return ", ".join(words + [f"dropout={self.dropout}"] * (self.dropout > 0))

    def flatten_parameters(self) -> None:
        """Does nothing: it is here for programs that call it, as nn.LSTM needs on a GPU."""

    bidirectional = False  # which programs ask of nn.LSTM, too

    if TYPE_CHECKING:  # what nn.Module leaves open
        @overload
        def __call__(self, x: torch.Tensor, state: State | None = None, *, reset: torch.Tensor | None = None,
                     lengths: torch.Tensor | Sequence[int] | None = None, hx: State | None = None) -> tuple[torch.Tensor, Any]: ...

        @overload
        def __call__(self, x: PackedSequence, state: State | None = None, *,
                     hx: State | None = None) -> tuple[PackedSequence, Any]: ...

        def __call__(self, *arguments: Any, **named: Any) -> tuple[Any, Any]: ...

    def forward(self, x: torch.Tensor | PackedSequence, state: State | None = None, *, reset: torch.Tensor | None = None,
                lengths: torch.Tensor | Sequence[int] | None = None,
                hx: State | None = None) -> tuple[torch.Tensor | PackedSequence, State]:
        """A sequence through all layers, from a state to the next.

        Args:
            x: (T, B, I), or (T, I) without a batch, of the parameters' type; uint8, taken as 0 to 255; or tokens (T, B) of int32
                or int64, one-hot without the zeros; or a PackedSequence.
            state: as it was returned; None: zeros. One tensor where the unit has one, else a tuple, h first; each is
                (num_layers, B, ...). F of the STP neuron and A of HebbFF depend on a layer's inputs: with several layers they are a
                tuple of (B, H, K), one a layer.
            reset: (T, B), not 0 zeroes a sample's state before that step.
            lengths: (B), steps in [0, T] that each sample has; its outputs are 0 afterwards and its state stays.
            hx: the state by nn.LSTM's name for it, in place of `state`.

        Returns outputs (T, B, H) of the last layer, and the state after the last step. The gradient is exact, to inputs, state and
        parameters (docs/mathematics.md#3-the-gradient); there are no second derivatives, and no torch.func transforms.

        Raises TypeError and ValueError for an argument of another type or shape, RuntimeError for another device.
        """
        state = one_state(state, hx)
        if isinstance(x, PackedSequence):
            return self._forward_packed(x, state, reset, lengths)
        x, batched = self._checked_inputs(x, 3, 2)
        if not batched:
            return self._forward_one(x, state, reset, lengths)
        if reset is not None:
            reset = self._checked_reset(reset, x.shape[:2])
        if self.batch_first:
            x = x.transpose(0, 1)
            reset = None if reset is None else reset.transpose(0, 1).contiguous()
        if lengths is not None:
            lengths = self._checked_lengths(lengths, x.shape)
        y, state = self._forward_batch(x, state, reset, lengths)
        return (y.transpose(0, 1) if self.batch_first else y), state

    def _forward_batch(self, x, state, reset, lengths):
        if state is None and self.num_layers == 1:
            y, finals = self._run(0, False, x, lengths, reset, ())
            return y, self.states.pack(finals)
        finals = []
        for layer, states in enumerate(self.states.by_layer(state, x.shape[1], self._first_parameter())):
            if layer and self.dropout and self.training:
                x = torch.nn.functional.dropout(x, self.dropout)
            x, after = self._run(layer, False, x, lengths, reset, states)
            finals.append(after)
        return x, self.states.join(finals)

    def _forward_one(self, x, state, reset, lengths):
        reset = None if reset is None else self._checked_reset(reset, x.shape[:1]).unsqueeze(1)
        x, state = x.unsqueeze(1), self.states.mapped(state, torch.Tensor.unsqueeze)
        if lengths is not None:
            lengths = torch.as_tensor(lengths)
            if lengths.shape not in ((), (1,)):
                raise ValueError(f"lengths has shape {tuple(lengths.shape)}, expected () or (1,) without a batch")
            lengths = self._checked_lengths(lengths.reshape(1), x.shape)
        y, state = self._forward_batch(x, state, reset, lengths)
        return y.squeeze(1), self.states.mapped(state, torch.Tensor.squeeze)

    def _forward_packed(self, packed, state, reset, lengths):
        """The samples stay in the order of the packing, the longest first, as nn.LSTM leaves them."""
        if reset is not None or lengths is not None:
            raise ValueError("a PackedSequence has its own lengths, and takes no reset")
        order, back = packed.sorted_indices, packed.unsorted_indices
        x, steps = pad_packed_sequence(PackedSequence(packed.data, packed.batch_sizes))
        x, _ = self._checked_inputs(x, 3, 2)
        if state is not None:
            self.states.check_batch(state, x.shape[1])
            state = state if order is None else self.select_samples(state, order)
        y, state = self._forward_batch(x, state, None, self._checked_lengths(steps.to(x.device), x.shape))
        y = pack_padded_sequence(y, steps, enforce_sorted=True)
        if back is not None:
            state = self.select_samples(state, back)
        return PackedSequence(y.data, packed.batch_sizes, order, back), state

    def _checked_reset(self, reset, shape):
        if not isinstance(reset, torch.Tensor):
            raise TypeError(f"reset is a {type(reset).__name__}, expected a tensor")
        if reset.shape != shape:
            raise ValueError(f"reset has shape {tuple(reset.shape)}, expected {tuple(shape)}")
        return (reset != 0).to(torch.uint8).contiguous()

    def _checked_lengths(self, lengths, shape):
        if lengths is None:
            return None
        lengths = torch.as_tensor(lengths, device=self._first_parameter().device)
        if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype is torch.bool:
            raise TypeError(f"lengths has values of type {lengths.dtype}, expected integers")
        if lengths.shape != shape[1:2]:
            raise ValueError(f"lengths has shape {tuple(lengths.shape)}, expected {tuple(shape[1:2])}")
        if not torch.compiler.is_compiling() and lengths.numel() and not (
                0 <= int(lengths.min()) and int(lengths.max()) <= shape[0]):
            raise ValueError(f"lengths are from {int(lengths.min())} to {int(lengths.max())}, expected 0 to {shape[0]}")
        return lengths.to(torch.int32).contiguous()

    # ------------------------------------------------------------------------------------------------------- states

    def detach_state(self, state: State | None) -> Any:
        """The state as numbers: the gradient ends there (truncated backpropagation through time). None stays None, here and below."""
        return self.states.mapped(state, lambda tensor, batch: tensor.detach())

    def reset_state(self, state: State | None, mask: torch.Tensor | Sequence[bool]) -> Any:
        """The state with zeros for the samples where `mask` (B) is not 0. ValueError for a state without a batch."""
        chosen = torch.as_tensor(mask)
        self.states.check_batch(state)

        def cleared(tensor, batch):
            if chosen.shape != tensor.shape[batch:batch + 1]:
                raise ValueError(f"mask has shape {tuple(chosen.shape)}, expected ({tensor.shape[batch]},)")
            return torch.where((chosen.to(tensor.device) != 0).reshape(-1, *[1] * (tensor.dim() - 1 - batch)), 0.0, tensor)
        return self.states.mapped(state, cleared)

    def select_samples(self, state: State | None, index: torch.Tensor) -> Any:
        """The state of the samples that `index`, a tensor (N) of integers, names: B becomes N. ValueError for a state without a
        batch."""
        self.states.check_batch(state)
        return self.states.mapped(state, lambda tensor, batch: tensor.index_select(batch, index))


class STPN(Layer):
    """The recurrent short-term-plasticity neuron where nn.LSTM stood (docs/units/stpn.md); arguments, shapes and errors are those of
    Layer. Parameters: weight_l0 (H, K), K = I + H, bias_l0 (H), lambda_l0 and gamma_l0 (H, K).

    Per neuron, with z = [x ; h]:

        G = W + F,  n = ||G_j|| + 1e-16,  h_j = activation(G_j . z / n_j + b_j),  F' = Lambda F / n + Gamma z h_j

    (Garcia Rodriguez, Guo, Moraitis, ICML 2022). The state is (h, F): (num_layers, B, H) and (num_layers, B, H, I + H).

    Args:
        bias: whether there is b.
        norm: "pre" (as above), "post" (F divided by the norm after its update), "output" (F is not divided), "none".
        clamp: bound of |F| after each update; None or 0: none.
        plastic: columns that carry F: "all", "input", "hidden".
        granularity: Lambda and Gamma per "synapse" (H, K), "neuron" (H), or one "scalar" (1) of each.
        learn: False: Lambda and Gamma are held at `lambda_` and `gamma`.
        rule: "hebb": z h_j; "oja": h_j (z_k - sum_m h_m F_mk).
        decay: "after": Lambda F + Gamma P; "prompt": Lambda (F + Gamma P).
        activation: "tanh", "sigmoid".
        layer_norm: whether there is a layer norm before the activation.
        presynaptic: recurrent part of z in the update of F: h "previous" to the step, or of the "current" one.

    >>> layer = STPN(37, 11)
    >>> y, (h, F) = layer(torch.randn(9, 128, 37))
    """

    _unit = "stpn_r"

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *, bias: bool = True, batch_first: bool = False,
                 dropout: float = 0.0, bidirectional: bool = False, norm: str = "pre", clamp: float | None = None,
                 plastic: str = "all", granularity: str = "synapse", learn: bool = True, lambda_: float = 0.9, gamma: float = 0.01,
                 rule: str = "hebb", decay: str = "after", activation: str = "tanh", layer_norm: bool = False,
                 presynaptic: str = "previous", implementation: str = "auto", device: torch.device | str | int | None = None,
                 dtype: torch.dtype | None = None) -> None:
        super().__init__(self._unit, input_size, hidden_size, num_layers, batch_first=batch_first, dropout=dropout,
                         bidirectional=bidirectional, implementation=implementation, device=device, dtype=dtype, bias=bias,
                         norm=norm, clamp=clamp, plastic=plastic, granularity=granularity, learn=learn, lambda_=lambda_,
                         gamma=gamma, rule=rule, decay=decay, activation=activation, layer_norm=layer_norm,
                         presynaptic=presynaptic)


class STPNF(STPN):
    """The feed-forward short-term-plasticity neuron, z = x: what it remembers is in its synapses alone. Arguments and parameters are
    those of STPN, K = I. The state is F, (num_layers, B, H, I), with several layers a tuple of (B, H, K).
    """

    _unit = "stpn_f"


class _Named(Layer):
    _unit: str

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, **arguments: Any) -> None:
        super().__init__(self._unit, input_size, hidden_size, num_layers, **arguments)


class RNN(_Named):
    """The recurrent neural network (Elman 1990; docs/units/rnn.md): weight_l0 (H, I + H), bias_l0 (H). The state is h.

        h' = tanh(W [x ; h] + b)

    Args:
        arguments: those of Layer, and the option init: "uniform", or "miconi", as the paper's maze network starts.
    """

    _unit = "rnn"


class LSTM(_Named):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; docs/units/lstm.md): nn.LSTM with one bias vector and one matrix,
    weight_l0 (4H, I + H), bias_l0 (4H), rows i, f, g, o. The state is (h, c).

    Args:
        arguments: those of Layer; there are no options.
    """

    _unit = "lstm"


class GRU(_Named):
    """The gated recurrent unit (Cho et al. 2014; docs/units/gru.md): nn.GRU, with its parameters' names: weight_ih_l0 (3H, I),
    weight_hh_l0 (3H, H), bias_ih_l0 and bias_hh_l0 (3H). The state is h.

    Args:
        arguments: those of Layer; there are no options.
    """

    _unit = "gru"


class MLP(_Named):
    """A layer without memory (docs/units/mlp.md): weight_l0 (H, I), bias_l0 (H). There is no state: ().

        h = tanh(W x + b)

    Args:
        arguments: those of Layer; there are no options.
    """

    _unit = "mlp"


class FastWeights(_Named):
    """Fast weights (Ba et al. 2016; docs/units/fast_weights.md): weight_l0 (H, I + H), bias_l0, ln_weight_l0, ln_bias_l0 (H). The
    state is (h, A), A (num_layers, B, H, H).

        A' = lambda A + eta h h^T
        p = W [x ; h] + b,  h^0 = tanh(LN(p)),  h^{s+1} = tanh(LN(p + A' h^s))

    Args:
        arguments: those of Layer, and the options lambda_ (0.9) and eta (0.5), both fixed, and inner_steps (1).
    """

    _unit = "fast_weights"


class Plastic(_Named):
    """Differentiable plasticity (Miconi et al. 2018; docs/units/plastic.md): weight_in_l0 (H, I), bias_in_l0 (H), w_l0 and alpha_l0
    (H, H), eta_l0 (1). The state is (h, E), E (num_layers, B, H, H).

        h' = tanh(Wi x + bi + (w + alpha E) h),  E' = clip(E + eta h' h^T, -1, 1)

    Args:
        arguments: those of Layer, and the option trace, how E grows: "clip" (as above), "soft", "add", "decay".
    """

    _unit = "plastic"


class ModPlast(_Named):
    """Neuromodulated plasticity (Miconi et al. 2019; docs/units/modplast.md): Plastic with weight_mod_l0 (1, H) and bias_mod_l0 (1)
    in place of eta_l0. The state is (h, E).

        m = tanh(Wm h' + bm),  E' = clip(E + m h' h^T, -1, 1)

    Args:
        arguments: those of Layer, and the options trace, as of Plastic, and modulation: "tanh" (as above), "sigmoid", "linear".
    """

    _unit = "modplast"


class Modul(_Named):
    """Retroactive neuromodulation (Miconi et al. 2019; docs/units/modul.md): ModPlast with eta_l0 (1) and a trace T of what happened
    before. The state is (h, E, T), E and T (num_layers, B, H, H).

        E' = clip(E + m T, -1, 1),  T' = (1 - eta) T + eta h' h^T

    Args:
        arguments: those of Layer, and the options of ModPlast; trace is not "decay".
    """

    _unit = "modul"


class HebbFF(_Named):
    """The Hebbian feed-forward network (Tyulmankov et al. 2022; docs/units/hebbff.md): weight_l0 (H, I), bias_l0 (H),
    lambda_logit_l0 and eta_log_l0 (1). The state is A, (num_layers, B, H, I).

        h = sigmoid((W + A) x + b),  A' = lambda A + eta h x^T,  lambda = sigmoid(lambda_logit),  eta = -exp(eta_log)

    Args:
        arguments: those of Layer; there are no options.
    """

    _unit = "hebbff"
