"""stpn.torch beside other processes and threads: DataLoader workers, DistributedDataParallel, threads of Python."""
import os
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from binding_support import largest_error  # noqa: E402  (goes on in .venv)

import torch  # noqa: E402
import torch.distributed as distributed  # noqa: E402
import torch.multiprocessing as multiprocessing  # noqa: E402

import stpn.torch as st  # noqa: E402


class Encoded(torch.utils.data.Dataset):
    """Runs a layer in the worker."""

    def __init__(self, layer, x):
        self.layer, self.x = layer, x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        with torch.no_grad():
            return self.layer(self.x[index])[0]


def trained(layer, x, steps=3):
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    for _ in range(steps):
        optimiser.zero_grad()
        layer(x)[0].square().mean().backward()
        optimiser.step()
    return [values.detach().clone() for values in layer.parameters()]


def distributed_worker(rank, folder, x, state_dict):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    layer = st.STPN(3, 5)
    if rank == 0:
        layer.load_state_dict(state_dict)  # the other rank gets it from this one
    layer = torch.nn.parallel.DistributedDataParallel(layer)
    torch.save(trained(layer, x[:, rank::2]), f"{folder}/{rank}.pt")
    distributed.barrier()
    # PyTorch 2.13's end of a gloo group may wait, the interpreter locked, for a thread that waits for the interpreter.
    os._exit(0)


class Processes(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(0)

    def test_workers_of_a_data_loader(self):
        layer, x = st.STPN(3, 5), torch.randn(4, 8, 40, 3)
        expected = torch.stack([layer(each)[0].detach() for each in x])  # with threads, before the fork
        loader = torch.utils.data.DataLoader(Encoded(layer, x), batch_size=2, num_workers=2, multiprocessing_context="fork")
        self.assertTrue(torch.equal(torch.cat(list(loader)), expected))

    def test_training_in_a_fork(self):
        layer, x = st.STPN(3, 5), torch.randn(8, 40, 3)
        layer(x)[0].sum().backward()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "child.pt")
            child = multiprocessing.get_context("fork").Process(target=lambda: torch.save(trained(layer, x), path))
            child.start()
            child.join(120)
            self.assertEqual(child.exitcode, 0)
            for ours, theirs in zip(trained(layer, x), torch.load(path)):
                self.assertLessEqual(largest_error(theirs, ours), 1e-6)

    def test_distributed_data_parallel(self):
        layer, x = st.STPN(3, 5), torch.randn(8, 20, 3)
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(distributed_worker, (folder, x, layer.state_dict()), nprocs=2)
            results = [torch.load(f"{folder}/{rank}.pt") for rank in range(2)]
        for alone, *both in zip(trained(layer, x), *results):
            self.assertTrue(torch.equal(*both))
            self.assertLessEqual(largest_error(both[0], alone), 1e-4)

    def test_threads_of_python(self):
        """They share a layer; each call has a work space of its own."""
        layer, x = st.STPN(3, 5), torch.randn(4, 30, 40, 3)
        expected = [torch.autograd.grad(layer(each)[0].square().sum(), list(layer.parameters())) for each in x]
        found, problems = [None] * 4, []

        def work(index):
            try:
                for _ in range(8):
                    found[index] = torch.autograd.grad(layer(x[index])[0].square().sum(), list(layer.parameters()))
            except Exception as problem:
                problems.append(problem)
        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])
        for ours, right in zip(found, expected):
            self.assertTrue(all(torch.equal(*pair) for pair in zip(ours, right)))

    def test_the_same_bits_on_any_number_of_threads(self):
        layer, x, found, before = st.STPN(3, 5), torch.randn(8, 70, 3), [], torch.get_num_threads()
        for threads in 1, 3:
            torch.set_num_threads(threads)
            found.append([layer(x)[0], *torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))])
        torch.set_num_threads(before)
        self.assertTrue(all(torch.equal(*pair) for pair in zip(*found)))


if __name__ == "__main__":
    unittest.main()
