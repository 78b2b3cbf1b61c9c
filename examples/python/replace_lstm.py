"""An LSTM swapped for an STPN: whether two halves of a sequence are the same in another order or differ in one element.
python replace_lstm.py [UPDATES]
"""
import sys
import time

import torch

import stpn.torch

KINDS, LENGTH, HIDDEN, BATCH = 12, 6, 24, 64


def draw():
    """One-hot sequences (T, B, I), and 1 where the second half is a permutation of the first."""
    first = torch.rand(BATCH, KINDS).topk(LENGTH + 1).indices
    second = first[:, torch.randperm(LENGTH)]
    same = torch.rand(BATCH) < 0.5
    second[~same, torch.randint(LENGTH, (1,))] = first[~same, LENGTH]  # an element that was not there
    x = torch.nn.functional.one_hot(torch.cat([first[:, :LENGTH], second], 1).T, KINDS)
    return x.float(), same.float()


def train(layer, updates):
    read = torch.nn.Linear(HIDDEN, 1)
    optimiser = torch.optim.Adam([*layer.parameters(), *read.parameters()], lr=0.005)
    right, begin = 0.5, time.perf_counter()
    for _ in range(updates):
        x, same = draw()
        y, state = layer(x)
        scores = read(y[-1])[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, same)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right += 0.02 * (float(((scores > 0) == (same > 0)).float().mean()) - right)
    print(f"{type(layer).__name__}: right {right:.2f}, {time.perf_counter() - begin:.1f} s")


updates = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
torch.manual_seed(0)
train(torch.nn.LSTM(KINDS, HIDDEN), updates)
train(stpn.torch.STPN(KINDS, HIDDEN), updates)
