"""Each of 1000 steps of the pendulum, from the same state and with the same action, against Gymnasium's
InvertedPendulum-v5: to 1e-6, and to 1e-9 where both use the same version of MuJoCo."""

import os
import subprocess
import sys
import unittest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import python_env  # noqa: E402

python_env.use()

import gymnasium  # noqa: E402
import mujoco  # noqa: E402
import numpy  # noqa: E402

PROGRAM = os.path.join(os.environ["STPN_BUILD"], "tests", "tasks", "test_pendulum")


class Steps(unittest.TestCase):
    def course(self, count):
        """States (n, 6), actions (n, 1), and what the environment makes of each: states, rewards, whether it is over."""
        environment = gymnasium.make("InvertedPendulum-v5").unwrapped
        draw = numpy.random.default_rng(0)
        states, actions, after, rewards, ends = [], [], [], [], []
        state, _ = environment.reset(seed=0)
        for _ in range(count):
            # Some beyond what the motor can do; the pole falls every few steps, and is put up elsewhere.
            action = draw.uniform(-4, 4, 1).astype(numpy.float32)
            # Where the engine's search for the forces at the rail's end begins is part of the state.
            states.append([*state, *environment.data.qacc_warmstart])
            actions.append(action)
            state, reward, over, _, _ = environment.step(numpy.clip(action, -3, 3))
            after.append(state)
            rewards.append(reward)
            ends.append(over)
            if over:
                environment.reset()
                state = draw.uniform([-1, -0.2, -2, -2], [1, 0.2, 2, 2])
                environment.set_state(state[:2], state[2:])
        return map(numpy.array, (states, actions, after, rewards, ends))

    def test_every_step(self):
        states, actions, after, rewards, ends = self.course(1000)
        lines = "".join(
            " ".join("%.17g" % value for value in (*state, *action)) + "\n" for state, action in zip(states, actions)
        )
        out = subprocess.run([PROGRAM, "follow"], input=lines, capture_output=True, text=True, check=True).stdout
        version, *rows = out.splitlines()
        got = numpy.array([[float(word) for word in row.split()] for row in rows])
        self.assertEqual(got.shape, (1000, 6))
        same = int(version) == mujoco.mj_version()
        numpy.testing.assert_allclose(got[:, :4], after, rtol=0, atol=1e-9 if same else 1e-6)
        numpy.testing.assert_array_equal(got[:, 4], rewards)
        numpy.testing.assert_array_equal(got[:, 5] == 1, ends)
        # The course sees both the end of episodes and that of the rail.
        self.assertGreater(ends.sum(), 50)
        self.assertGreater((abs(after[:, 0]) > 1).sum(), 5)


if __name__ == "__main__":
    if "STPN_BUILD" not in os.environ:
        sys.exit("STPN_BUILD is not set: run it with ctest")
    if os.environ.get("STPN_MUJOCO") == "0":
        print("this build is without MuJoCo")
        sys.exit(0)
    unittest.main()
