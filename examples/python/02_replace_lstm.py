# %% [markdown]
# # An LSTM swapped for an STPN
# Noisy waves of six frequencies are told apart, one sample a step, and the steps come in an order that a fixed permutation
# has made of them: what belongs together lies far apart, so all of the sequence has to be remembered.

# %%
import time

import torch

import stpn.torch

UPDATES = 1500
KINDS, STEPS, HIDDEN, BATCH = 6, 48, 32, 64

torch.manual_seed(0)
order = torch.randperm(STEPS)


def draw():
    """Sequences (T, B, 1), and which frequency each has (B)."""
    kinds, phases = torch.randint(KINDS, (BATCH,)), 2 * torch.pi * torch.rand(BATCH)
    times = torch.arange(STEPS)[:, None] / STEPS
    waves = torch.sin(2 * torch.pi * (1 + kinds) * times + phases) + 0.5 * torch.randn(STEPS, BATCH)
    return waves[order, :, None], kinds


# %% [markdown]
# Nothing in the training knows which of the two it trains: both take (T, B, I) and return (T, B, H) and a state.

# %%
def train(layer):
    readout = torch.nn.Linear(HIDDEN, KINDS)
    parameters = [*layer.parameters(), *readout.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.005)
    right, begin = 1 / KINDS, time.perf_counter()
    for _ in range(UPDATES):
        x, kinds = draw()
        y, state = layer(x)
        logits = readout(y[-1])
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, kinds).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        right += 0.02 * (float((logits.argmax(1) == kinds).float().mean()) - right)
    print(f"{type(layer).__name__}: right {right:.2f}, {time.perf_counter() - begin:.1f} s")


# %%
train(torch.nn.LSTM(1, HIDDEN))
train(stpn.torch.STPN(1, HIDDEN))
