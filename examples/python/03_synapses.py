# %% [markdown]
# # Synapses that learn and forget
# A synapse's efficacy is G = W + F. W is what training has left; F grows by Γ z h while the synapse is used, and decays by Λ
# in every step. Here four symbols are shown one after the other, the first of them twice, and F is looked at after each
# step. Without the norm that divides F (`norm="none"`) what decays does so by Λ exactly.

# %%
import matplotlib.pyplot as plt
import torch

import stpn.torch

SYMBOLS, HIDDEN, LAMBDA, GAMMA = 4, 6, 0.9, 0.08

torch.manual_seed(0)
layer = stpn.torch.STPNF(SYMBOLS, HIDDEN, bias=False, norm="none", learn=False, lambda_=LAMBDA, gamma=GAMMA)
tokens = torch.tensor([0, 1, 2, 0, 3]).repeat_interleave(12)  # (T): each for twelve steps

# %% [markdown]
# One step at a time: the state that comes back is F, and goes in again.

# %%
steps, F = [], None
with torch.no_grad():
    for token in tokens:
        h, F = layer(token.reshape(1, 1), F)  # (T, B) = (1, 1); F is (1, B, H, K)
        steps.append(F[0, 0])
F = torch.stack(steps)  # (T, H, K), after each step
G = layer.weight_l0.detach() + F

# %% [markdown]
# Above, the efficacies of one neuron's four synapses: each grows in size while its symbol is read (the grey bars tell
# which), and goes back to its W afterwards. Below, how large F is over all neurons: where a symbol is not read, a line with
# the slope of Λ.

# %%
figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 5), layout="constrained")
for symbol in range(SYMBOLS):
    line, = above.plot(G[:, 0, symbol], label=f"symbol {symbol}")
    above.axhline(layer.weight_l0[0, symbol].item(), color=line.get_color(), linestyle=":", linewidth=0.8)
    below.semilogy(F[:, :, symbol].norm(dim=1).where(F[:, :, symbol].norm(dim=1) > 0, torch.nan))
for start in range(0, len(tokens), 12):
    for axes in (above, below):
        axes.axvspan(start - 0.5, start + 11.5, color="black", alpha=0.08 * (start // 12 % 2), linewidth=0)
    above.text(start, 1.02, f"reads {tokens[start]}", transform=above.get_xaxis_transform(), fontsize=8)
above.set_ylabel("W + F of neuron 0")
above.legend(fontsize=8, ncols=SYMBOLS, loc="upper center", bbox_to_anchor=(0.5, 1.25))
below.set_ylabel("|F| of all neurons")
below.set_xlabel("step")
figure.savefig("synapses.svg")
