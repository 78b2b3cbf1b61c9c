# %% [markdown]
# # Associative retrieval
# After `c9k8j3??k` the answer is `8`, the value that stood behind `k`: a layer of 20 neurons learns to write pairs into its
# synapses while it reads them, and to find the one that is asked for.

# %%
import torch

import stpn.torch

UPDATES = 4000
KEYS, VALUES, SYMBOLS, PAIRS = 26, 10, 37, 3  # a to z, 0 to 9, and ?


def draw(batch):
    """Sequences of symbols (T, B), and the value (B) that stands behind the key asked for."""
    keys, values = torch.rand(batch, KEYS).topk(PAIRS).indices, torch.rand(batch, VALUES).topk(PAIRS).indices + KEYS
    asked = torch.randint(PAIRS, (batch, 1))
    marks = torch.full((batch, 2), SYMBOLS - 1)
    pairs = torch.stack([keys, values], 2).flatten(1)
    return torch.cat([pairs, marks, keys.gather(1, asked)], 1).T, values.gather(1, asked)[:, 0]


# %% [markdown]
# The layer stands where an `nn.LSTM` would. Integers are symbols: one-hot vectors without their zeros.

# %%
torch.manual_seed(0)
layer, readout = stpn.torch.STPN(SYMBOLS, 20), torch.nn.Linear(20, SYMBOLS)
optimiser = torch.optim.Adam([*layer.parameters(), *readout.parameters()], lr=0.003)
for update in range(1, UPDATES + 1):
    tokens, answers = draw(128)
    y, state = layer(tokens)
    logits = readout(y[-1])
    loss = torch.nn.functional.cross_entropy(logits, answers)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if update % 500 == 0 or update == UPDATES:
        print(f"update {update}: loss {loss:.3f}, right {(logits.argmax(1) == answers).float().mean():.2f}")

# %% [markdown]
# The file has the names and the format of the command's: `05_streaming.py` reads it without PyTorch.

# %%
stpn.torch.save("retrieval.safetensors", layer, readout=readout)
