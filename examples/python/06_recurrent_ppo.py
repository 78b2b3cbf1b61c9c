# %% [markdown]
# # An STPN in RecurrentPPO
# sb3-contrib's RecurrentPPO with an STPN in the place of its LSTM, on CartPole that hides its velocities. It needs
# stable-baselines3 and sb3-contrib: `pip install sb3-contrib`.

# %%
import gymnasium
import torch
from sb3_contrib import RecurrentPPO
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy

import stpn.torch

AGENT_STEPS = 100_000


# %% [markdown]
# The buffers of RecurrentPPO are made for (h, c) of an LSTM. They hold (h, F) as h of an LSTM of 1 + K layers.

# %%
class Memory(torch.nn.Module):
    """An STPN whose state (h, F) lies in one tensor (1 + K, B, H), as h of an LSTM of 1 + K layers does: so the buffers of
    RecurrentPPO, which are made for (h, c) of an LSTM, hold it. c is not used."""

    def __init__(self, inputs, hidden):
        super().__init__()
        self.stpn, self.hidden_size, self.num_layers = stpn.torch.STPN(inputs, hidden), hidden, 1 + inputs + hidden

    def forward(self, x, states, starts):
        h, F = states[0][:1], states[0][1:]                                        # (1, B, H), (K, B, H)
        y, (h, F) = self.stpn(x, (h, F.permute(1, 2, 0)[None]), reset=starts)      # F (1, B, H, K)
        return y, (torch.cat([h, F[0].permute(2, 0, 1)]), states[1])


# %%
class STPNPolicy(RecurrentActorCriticPolicy):
    """The policy of RecurrentPPO with one STPN that actor and critic share."""

    def __init__(self, observations, actions, schedule, lstm_hidden_size=16, **arguments):
        super().__init__(observations, actions, schedule, lstm_hidden_size=lstm_hidden_size, shared_lstm=True,
                         enable_critic_lstm=False, **arguments)
        self.lstm_actor = Memory(self.features_dim, lstm_hidden_size)
        self.lstm_hidden_state_shape = (self.lstm_actor.num_layers, 1, lstm_hidden_size)
        self.optimizer = self.optimizer_class(self.parameters(), lr=schedule(1), **self.optimizer_kwargs)

    @staticmethod
    def _process_sequence(features, states, starts, memory):
        count = states[0].shape[1]
        x, starts = (rows.reshape(count, -1, *rows.shape[1:]).swapaxes(0, 1) for rows in (features, starts))
        y, states = memory(x, states, starts != 0)
        return y.swapaxes(0, 1).flatten(0, 1), states


# %%
class Positions(gymnasium.ObservationWrapper):
    """CartPole without its velocities, which have to be remembered."""

    def __init__(self, env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(-5, 5, (2,))

    def observation(self, observation):
        return observation[[0, 2]]


model = RecurrentPPO(STPNPolicy, Positions(gymnasium.make("CartPole-v1")), n_steps=min(AGENT_STEPS, 512), learning_rate=0.001,
                     seed=0, verbose=1)
model.learn(AGENT_STEPS)
print(f"{sum(p.numel() for p in model.policy.lstm_actor.parameters())} parameters in the STPN")
