# %% [markdown]
# # CartPole without its velocities
# An agent sees where the cart and the pole are, and not how fast they move. An STPN, which can remember, is set against an
# MLP, which cannot.

# %%
import gymnasium

import stpn.gym

AGENT_STEPS = 200_000


def positions(copies):
    """CartPole-v1 of which the place of the cart and the angle of the pole are seen."""
    envs = gymnasium.make_vec("CartPole-v1", num_envs=copies)
    return gymnasium.wrappers.vector.TransformObservation(envs, lambda seen: seen * [1, 0, 1, 0])


# %% [markdown]
# PPO plays and learns in C; an episode begins with synapses as they were trained, and F = 0.

# %%
for unit in ("stpn_r", "mlp"):
    agent = stpn.gym.Agent(positions(8), unit, hidden=32, method="ppo", rollout=128, sequence=16, minibatch=256,
                           learning_rate=0.002, entropy_weight=0.0, normalise_observations=True, normalise_rewards=True)
    agent.learn(AGENT_STEPS)
    result = agent.evaluate(positions(20), episodes=40)
    print(f"{unit}: {result['reward']:.0f} steps upright (+- {result['reward_error']:.0f}) after {agent.steps} steps")
    agent.save(f"cartpole-{unit}.safetensors")
