"""STPN-R in PyTorch, as one writes it by hand (docs/mathematics.md; norm pre, or norm post with a clamp)."""
import torch

EPS = 1e-16


class STPN(torch.nn.Module):
    def __init__(self, inputs, hidden, norm="pre", clamp=None):
        super().__init__()
        self.hidden, self.norm, self.clamp = hidden, norm, clamp
        columns, bound = inputs + hidden, hidden ** -0.5
        self.weight = torch.nn.Parameter(torch.empty(hidden, columns).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.empty(hidden).uniform_(-bound, bound))
        self.decay = torch.nn.Parameter(torch.rand(hidden, columns))
        self.rate = torch.nn.Parameter(torch.empty(hidden, columns).uniform_(-0.001 * bound, 0.001 * bound))

    def step(self, x, h, F):
        """x (B, I), h (B, H), F (B, H, K) to the next h and F."""
        z = torch.cat([x, h], 1)                                            # (B, K)
        G = self.weight + F                                                 # (B, H, K)
        n = torch.linalg.vector_norm(G, dim=2) + EPS                        # (B, H)
        h = torch.tanh(self.product(G, z) / n + self.bias)                  # (B, H)
        if self.norm == "pre":
            F = F / n.unsqueeze(2)
        F = self.decay * F + self.rate * (h.unsqueeze(2) * z.unsqueeze(1))  # (B, H, K)
        if self.clamp:
            F = F.clamp(-self.clamp, self.clamp)
        if self.norm == "post":
            F = F / (torch.linalg.vector_norm(self.weight + F, dim=2, keepdim=True) + EPS)
        return h, F

    @staticmethod
    def product(G, z):
        """G (B, H, K) times z (B, K); faster here than torch.bmm."""
        return (G * z.unsqueeze(1)).sum(2)

    def forward(self, x, state=None):
        """x (T, B, I) to y (T, B, H) and the last state."""
        h, F = state or (x.new_zeros(x.shape[1], self.hidden), x.new_zeros(x.shape[1], *self.weight.shape))
        outputs = []
        for step in x.unbind():
            h, F = self.step(step, h, F)
            outputs.append(h)
        return torch.stack(outputs), (h, F)


def compiled_steps(model):
    """torch.compile on a step: it fuses what a step does."""
    model.step = torch.compile(model.step, dynamic=False, fullgraph=True)
    return model


class ProductSTPN(STPN):
    @staticmethod
    def product(G, z):
        return torch.bmm(G, z.unsqueeze(2)).squeeze(2)


def compiled_whole(*sizes):
    """torch.compile on the whole sequence, for few steps: it unrolls them. Here torch.bmm is faster."""
    return torch.compile(ProductSTPN(*sizes), dynamic=False, fullgraph=True)
