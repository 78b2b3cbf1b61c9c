"""STPN-R in JAX: a step under lax.scan, compiled as a whole, with and without jax.checkpoint on the step."""
import jax
import jax.numpy as jnp

EPS = 1e-16


def norm_of(G):
    return jnp.sqrt(jnp.sum(G * G, axis=-1)) + EPS


def make_step(norm, clamp):
    def step(parameters, state, x):
        weight, bias, decay, rate = parameters
        h, F = state                                              # (B, H), (B, H, K)
        z = jnp.concatenate([x, h], axis=1)                       # (B, K)
        G = weight + F
        n = norm_of(G)                                            # (B, H)
        h = jnp.tanh(jnp.einsum("bhk,bk->bh", G, z) / n + bias)
        if norm == "pre":
            F = F / n[:, :, None]
        F = decay * F + rate * (h[:, :, None] * z[:, None, :])
        if clamp:
            F = jnp.clip(F, -clamp, clamp)
        if norm == "post":
            F = F / norm_of(weight + F)[:, :, None]
        return (h, F), h
    return step


def make_pass(norm="pre", clamp=None, checkpoint=False):
    """A function of parameters, x (T, B, I) and dy (T, B, H) that gives y (T, B, H) and the parameters' gradients."""
    step = make_step(norm, clamp)
    if checkpoint:
        step = jax.checkpoint(step)

    def outputs(parameters, x):
        hidden, columns = parameters[0].shape
        state = jnp.zeros((x.shape[1], hidden), x.dtype), jnp.zeros((x.shape[1], hidden, columns), x.dtype)
        return jax.lax.scan(lambda carry, now: step(parameters, carry, now), state, x)[1]

    @jax.jit
    def run(parameters, x, dy):
        y, pull = jax.vjp(lambda values: outputs(values, x), parameters)
        return y, pull(dy)[0]
    return run
