"""One step of every unit in plain PyTorch, on any device (docs/mathematics.md, docs/units/). Shapes are those of stpn.h.

A step takes options, x (B, I), the state's tensors and the parameters, both by name, and returns the output (B, H) and the
next state's tensors, in the order of the state.
"""
import torch
from torch.nn.functional import layer_norm

EPS, LAYER_NORM_EPS = 1e-16, 1e-5


def _inverse_norm(G):
    """1 / (||G_j|| + eps) of each row (B, H, 1); 0 for a row of zeros, by which everything stays finite."""
    r = torch.linalg.vector_norm(G, dim=2, keepdim=True)
    empty = r == 0
    return torch.where(empty, 0.0, 1 / (torch.where(empty, 1.0, r) + EPS))


def _matrix(values):
    """Lambda or Gamma as (1 or H, 1 or K)."""
    return values if values.dim() != 1 else values.unsqueeze(1)


def _times(G, z):
    """G (B, H, K) times z (B, K): (B, H)."""
    return torch.bmm(G, z.unsqueeze(2)).squeeze(2)


def stpn(o, x, state, p):
    F, h, mask = state["F"], state.get("h"), None
    if o["plastic"] != "all":
        mask = torch.zeros(F.shape[2], dtype=F.dtype, device=F.device)
        mask[slice(0, x.shape[1]) if o["plastic"] == "input" else slice(x.shape[1], None)] = 1
        F = F * mask
    z = x if h is None else torch.cat([x, h], 1)  # (B, K)
    G = p["weight"] + F
    inverse = None if o["norm"] == "none" else _inverse_norm(G)
    drive = _times(G, z)
    if inverse is not None:
        drive = drive * inverse.squeeze(2)
    if "bias" in p:
        drive = drive + p["bias"]
    if o["layer_norm"]:
        drive = layer_norm(drive, drive.shape[1:], p["ln_weight"], p["ln_bias"], LAYER_NORM_EPS)
    y = torch.tanh(drive) if o["activation"] == "tanh" else torch.sigmoid(drive)
    v = z if h is None or o["presynaptic"] == "previous" else torch.cat([x, y], 1)
    if o["rule"] == "oja":
        v = v - torch.bmm(y.unsqueeze(1), F).squeeze(1)
    P = y.unsqueeze(2) * v.unsqueeze(1)
    kept = F * inverse if o["norm"] == "pre" else F
    decay = _matrix(p["lambda"]) if o["learn"] else o["lambda"]
    rate = _matrix(p["gamma"]) if o["learn"] else o["gamma"]
    F = decay * kept + rate * P if o["decay"] == "after" else decay * (kept + rate * P)
    if mask is not None:
        F = F * mask
    if o["clamp"]:
        F = F.clamp(-o["clamp"], o["clamp"])
    if o["norm"] == "post":
        F = F * _inverse_norm(p["weight"] + F)
    return y, [F] if h is None else [y, F]


def rnn(o, x, state, p):
    h = torch.tanh(torch.cat([x, state["h"]], 1) @ p["weight"].T + p["bias"])
    return h, [h]


def lstm(o, x, state, p):
    i, f, g, out = (torch.cat([x, state["h"]], 1) @ p["weight"].T + p["bias"]).chunk(4, 1)
    c = torch.sigmoid(f) * state["c"] + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(out) * torch.tanh(c)
    return h, [h, c]


def gru(o, x, state, p):
    h = state["h"]
    r, z, n = (x @ p["weight_ih"].T + p["bias_ih"]).chunk(3, 1)
    hr, hz, hn = (h @ p["weight_hh"].T + p["bias_hh"]).chunk(3, 1)
    z = torch.sigmoid(z + hz)
    h = (1 - z) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + z * h
    return h, [h]


def mlp(o, x, state, p):
    return torch.tanh(x @ p["weight"].T + p["bias"]), []


def fast_weights(o, x, state, p):
    h = state["h"]
    A = o["lambda"] * state["A"] + o["eta"] * h.unsqueeze(2) * h.unsqueeze(1)
    drive = torch.cat([x, h], 1) @ p["weight"].T + p["bias"]

    def settled(q):
        return torch.tanh(layer_norm(q, q.shape[1:], p["ln_weight"], p["ln_bias"], LAYER_NORM_EPS))

    h = settled(drive)
    for _ in range(o["inner_steps"]):
        h = settled(drive + _times(A, h))
    return h, [h, A]


def _taken_up(trace, E, d, keep):
    """The rule by which a trace takes up its change."""
    if trace == "clip":
        return (E + d).clamp(-1, 1)
    if trace == "soft":
        return (E + d.clamp(min=0) * (1 - E) + d.clamp(max=0) * (E + 1)).clamp(-1, 1)
    return E + d if trace == "add" else (1 - keep) * E + d


def _miconi(x, state, p):
    h = state["h"]
    return torch.tanh(x @ p["weight_in"].T + p["bias_in"] + _times(p["w"] + p["alpha"] * state["E"], h))


def _modulator(o, h, p):
    m = (h @ p["weight_mod"].T + p["bias_mod"]).unsqueeze(2)  # (B, 1, 1)
    return {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "linear": lambda a: a}[o["modulation"]](m)


def plastic(o, x, state, p):
    h = _miconi(x, state, p)
    d = p["eta"] * h.unsqueeze(2) * state["h"].unsqueeze(1)
    return h, [h, _taken_up(o["trace"], state["E"], d, p["eta"])]


def modplast(o, x, state, p):
    h = _miconi(x, state, p)
    m = _modulator(o, h, p)
    return h, [h, _taken_up(o["trace"], state["E"], m * h.unsqueeze(2) * state["h"].unsqueeze(1), m)]


def modul(o, x, state, p):
    h = _miconi(x, state, p)
    E = _taken_up(o["trace"], state["E"], _modulator(o, h, p) * state["T"], None)
    return h, [h, E, (1 - p["eta"]) * state["T"] + p["eta"] * h.unsqueeze(2) * state["h"].unsqueeze(1)]


def hebbff(o, x, state, p):
    A = state["A"]
    h = torch.sigmoid(x @ p["weight"].T + _times(A, x) + p["bias"])
    A = torch.sigmoid(p["lambda_logit"]) * A - torch.exp(p["eta_log"]) * h.unsqueeze(2) * x.unsqueeze(1)
    return h, [A]


STEPS = {"stpn_r": stpn, "stpn_f": stpn, "rnn": rnn, "lstm": lstm, "gru": gru, "mlp": mlp, "fast_weights": fast_weights,
         "plastic": plastic, "modplast": modplast, "modul": modul, "hebbff": hebbff}
