"""Associative retrieval in PyTorch: after c9k8j3??k the answer is 8. python retrieval.py [UPDATES]"""
import sys

import torch

import stpn.torch

KEYS, VALUES, SYMBOLS, PAIRS = 26, 10, 37, 3  # a to z, 0 to 9, and ?


def draw(batch):
    """Sequences of symbols (T, B), and the value that stands behind the key asked for."""
    keys, values = torch.rand(batch, KEYS).topk(PAIRS).indices, torch.rand(batch, VALUES).topk(PAIRS).indices + KEYS
    asked = torch.randint(PAIRS, (batch, 1))
    marks = torch.full((batch, 2), SYMBOLS - 1)
    pairs = torch.stack([keys, values], 2).flatten(1)
    return torch.cat([pairs, marks, keys.gather(1, asked)], 1).T, values.gather(1, asked)[:, 0]


torch.manual_seed(0)
layer, read = stpn.torch.STPN(SYMBOLS, 20), torch.nn.Linear(20, SYMBOLS)
parameters = [*layer.parameters(), *read.parameters()]
optimiser = torch.optim.Adam(parameters, lr=0.003)
updates = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
for update in range(1, updates + 1):
    tokens, answers = draw(128)
    y, state = layer(tokens)  # tokens are one-hot without the zeros
    loss = torch.nn.functional.cross_entropy(read(y[-1]), answers)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if update % 500 == 0 or update == updates:
        right = (read(y[-1]).argmax(1) == answers).float().mean()
        print(f"update {update}: loss {loss:.3f}, right {right:.2f}")
stpn.torch.save("retrieval.safetensors", layer, readout=read)
