#!/usr/bin/env python3
"""Steps per second of the whole training loop on the inverted pendulum, one thread, LSTM 64: stpn train beside RecurrentPPO
of sb3-contrib at the same settings. The two take turns, so that what else the machine does meets both; by processor time as
well as by the clock, since on a busy machine the clock's ratio is not that of a quiet one. A table in Markdown goes to standard
output.

It runs with a Python that has torch, sb3-contrib, gymnasium, mujoco and imageio (bench/README.md)."""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXPERIMENT = os.path.join(ROOT, "experiments", "pendulum", "lstm.json")


def ours(stpn, steps):
    """By the clock as the run's summary has it; by the processor the whole process counts, its start and its test too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        subprocess.run([stpn, "train", EXPERIMENT, "--out", run, "--threads", "1", "--quiet", "--set",
                        "train.steps=%d" % steps, "--set", "train.test_iterations=1"], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(run, "summary.json")) as file:
            rate = json.load(file)["train"]["steps_per_second"]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return rate, steps / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def peer():
    """RecurrentPPO with one LSTM for policy and value and linear heads on it, as ours."""
    import torch
    from sb3_contrib import RecurrentPPO

    with open(EXPERIMENT) as file:
        train = json.load(file)["train"]
    torch.set_num_threads(1)
    return RecurrentPPO(
        "MlpLstmPolicy", "InvertedPendulum-v5", learning_rate=train["learning_rate"], n_steps=2048, batch_size=64,
        n_epochs=10, gamma=0.99, gae_lambda=0.95, clip_range=0.2, vf_coef=1.0, ent_coef=0.01,
        max_grad_norm=train["clip_norm"], seed=0, device="cpu",
        policy_kwargs={"net_arch": [], "lstm_hidden_size": 64, "n_lstm_layers": 1, "shared_lstm": True,
                       "enable_critic_lstm": False})


def theirs(model, steps):
    begin, processor = time.perf_counter(), time.process_time()
    model.learn(steps, reset_num_timesteps=False)
    return steps / (time.perf_counter() - begin), steps / (time.process_time() - processor)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--stpn", default=os.path.join(ROOT, "build", "stpn"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4096, help="of the peer in a round; ours makes ten times as many")
    parser.add_argument("--json", action="store_true", help="prints one JSON document and nothing else")
    options = parser.parse_args()
    if options.rounds < 1 or options.steps < 2048 or options.steps % 2048:
        parser.error("--rounds has to be 1 or more, --steps a multiple of 2048")
    try:
        model = peer()
    except ImportError as error:
        print("bench/pendulum.py: %s: see bench/README.md" % error, file=sys.stderr)
        return 1
    theirs(model, 2048)  # what is made at first use
    rates = [(ours(options.stpn, 10 * options.steps), theirs(model, options.steps)) for _ in range(options.rounds)]
    result = {"rounds": options.rounds}
    for i, name in enumerate(("clock", "processor")):
        ratios = [a[i] / b[i] for a, b in rates]
        result[name] = {"stpn": statistics.median(a[i] for a, _ in rates), "sb3": statistics.median(b[i] for _, b in rates),
                        "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    if options.json:
        print(json.dumps(result))
        return 0
    print("| seconds of | stpn, steps/s | RecurrentPPO, steps/s | ratio, median of %d | least to most |" % options.rounds)
    print("| --- | --- | --- | --- | --- |")
    for name in ("clock", "processor"):
        row = "| %(stpn).0f | %(sb3).0f | **%(ratio).1f** | %(least).1f to %(most).1f |" % result[name]
        print("| the %s %s" % (name, row))
    return 0


if __name__ == "__main__":
    sys.exit(main())
