"""The environment worker from inside: Pong's two preprocessings, and what tells that observations of the wrong kind come."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))
import python_env  # noqa: E402

python_env.use()
sys.path[:0] = [os.path.join(python_env.SOURCE, "python"), os.path.join(python_env.SOURCE, "tests", "support")]
import numpy as np  # noqa: E402
from ale_py.vector_env import AtariVectorEnv  # noqa: E402
from stpn.envs import worker  # noqa: E402

COPIES = 2


class Memory(worker.Arrays):
    """The arrays of a worker that shares them with nobody."""

    def __init__(self, environment):
        memory = bytearray(4 * COPIES * (3 * environment.kind()["observations"] + 20))
        row = environment.kind()["observations"] * COPIES * 4
        super().__init__(memory, [0, row, 2 * row, 2 * row + 16, 2 * row + 32, 2 * row + 64, 2 * row + 80], COPIES, environment.kind())


def mean_of_area(image, side):
    """Each pixel of side x side by the part of the image that it covers, pixel by pixel."""
    rows, columns = image.shape
    out = np.zeros((side, side))
    for y in range(side):
        for x in range(side):
            top, bottom, left, right = y * rows / side, (y + 1) * rows / side, x * columns / side, (x + 1) * columns / side
            for i in range(int(top), int(np.ceil(bottom))):
                for j in range(int(left), int(np.ceil(right))):
                    share = (min(bottom, i + 1) - max(top, i)) * (min(right, j + 1) - max(left, j))
                    out[y, x] += share * image[i, j]
    return out * side * side / (rows * columns)


def played(preprocessing, steps):
    """Observations of every step, and the memory after them."""
    environment = worker.Pong({"preprocessing": preprocessing}, COPIES, COPIES)
    arrays = Memory(environment)
    arrays.seeds[:] = [3, 4]
    environment.reset(arrays, 0, COPIES)
    seen = [arrays.observations.copy()]
    for t in range(steps):
        arrays.actions[:] = [2 + t % 2, 3]
        environment.step(arrays, 0, COPIES)
        seen.append(arrays.observations.copy())
    return np.array(seen), arrays


class Pong(unittest.TestCase):
    def frames(self, steps, **options):
        """The same played on the vector environment itself."""
        raw = AtariVectorEnv("pong", COPIES, stack_num=1, num_threads=1, autoreset_mode="SameStep", **options)
        frames, _ = raw.reset(seed=np.array([3, 4]))
        seen = [frames[:, 0].copy()]
        for t in range(steps):
            frames, *_ = raw.step(np.array([2 + t % 2, 3], np.int32))
            seen.append(frames[:, 0].copy())
        return seen

    def test_a_film_shows_the_same_game_in_colour(self):
        environment = worker.Pong({"preprocessing": "deepmind"}, COPIES, COPIES)
        arrays = Memory(environment)
        arrays.seeds[:] = [3, 4]
        environment.film("film.gif")
        kept = []
        environment.recorded.add = kept.append
        environment.reset(arrays, 0, COPIES)
        for t in range(70):
            arrays.actions[:] = [2 + t % 2, 3]
            environment.step(arrays, 0, COPIES)
        raw = self.frames(70, img_height=210, img_width=160, grayscale=False, frameskip=4, maxpool=True, noop_max=30,
                          use_fire_reset=True, reward_clipping=True)
        self.assertEqual(len(kept), 71)
        for t in range(71):
            self.assertTrue((kept[t] == raw[t][0]).all(), t)
        arrays.rewards[0] += 1
        with self.assertRaisesRegex(worker.Refused, "went another way"):
            environment.film_step(arrays)

    def test_paper(self):
        seen, _ = played("paper", 70)
        raw = self.frames(70, img_height=210, img_width=160, grayscale=False, frameskip=1, maxpool=False, noop_max=0,
                          use_fire_reset=False)
        self.assertTrue((seen[0] != seen[70]).any())
        for t in (0, 70):
            for copy in range(COPIES):
                expected = mean_of_area(raw[t][copy, 25:-25].mean(axis=2), 84)
                self.assertLessEqual(np.abs(seen[t][copy].reshape(84, 84) - expected).max(), 0.501)

    def test_deepmind(self):
        seen, _ = played("deepmind", 30)
        raw = self.frames(30)
        for t in range(31):
            np.testing.assert_array_equal(seen[t].reshape(COPIES, 84, 84), raw[t])

    def test_what_an_episode_leaves(self):
        """The last image of an episode, the first one of the next, an end, and a point lost."""
        environment = worker.Pong({"preprocessing": "deepmind"}, COPIES, COPIES)
        arrays = Memory(environment)
        arrays.seeds[:] = [1, 2]
        environment.reset(arrays, 0, COPIES)
        rewards = np.zeros(COPIES)
        for _ in range(3000):
            arrays.actions[:] = 0
            environment.step(arrays, 0, COPIES)
            rewards += arrays.rewards
            if arrays.ends.any():
                break
        copy = int(np.flatnonzero(arrays.ends)[0])
        self.assertEqual((arrays.ends[copy], arrays.rewards[copy], rewards[copy]), (worker.TERMINATED, -1, -21))
        self.assertTrue((arrays.starts[copy] != arrays.observations[copy]).any())

    def test_parts_of_a_chunk(self):
        environment = worker.Pong({"preprocessing": "deepmind"}, COPIES, COPIES)
        arrays = Memory(environment)
        for first, last in ((0, 1), (1, 2)):
            with self.assertRaises(worker.Refused):
                environment.step(arrays, first, last)


class Gym(unittest.TestCase):
    def test_seeds_decide_an_episode(self):
        environment = worker.Gym("fake_env:Fake-v0", {}, COPIES)
        arrays = Memory(environment)
        targets = []
        for seed in range(40):
            arrays.seeds[:] = [seed, seed // 2]
            environment.reset(arrays, 0, COPIES)
            targets.append(arrays.observations[:, 1].copy())
        targets = np.array(targets)
        self.assertEqual(set(targets[:, 0]), {0, 1})
        np.testing.assert_array_equal(targets[:20, 0], targets[::2, 1])

    def test_a_range_is_its_own(self):
        environment = worker.Gym("fake_env:Fake-v0", {}, COPIES)
        arrays = Memory(environment)
        environment.reset(arrays, 0, COPIES)
        before = arrays.observations.copy()
        environment.step(arrays, 1, 2)
        np.testing.assert_array_equal(arrays.observations[0], before[0])
        self.assertAlmostEqual(float(arrays.observations[1, 0]), 1 / 9, 6)

    def test_bounds(self):
        kind = worker.Gym("fake_env:Fake-v0", {"continuous": True}, 1).kind()
        self.assertEqual((kind["actions"], kind["continuous"], kind["low"], kind["high"]), (0, 2, [-2, -2], [2, 2]))
        self.assertEqual(worker.bounds_of(np.array([-np.inf, 1.5])), [None, 1.5])


if __name__ == "__main__":
    unittest.main()
