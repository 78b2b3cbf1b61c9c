#!/usr/bin/env python3
"""Runs a command under Open MPI on one machine as if on several: each rank, or each few, in a network namespace of its own, and
between them a network with a set delay (bench/delay_switch.c), as not every kernel has netem. Needs root.

    python3 bench/namespaces.py --namespaces 2 --delay 250 -- build/bench_ping

Everything is removed again at the end, on an error, on Ctrl-C; what a killed run has left is removed by the next one."""
import argparse
import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PREFIX, DEVICE, SUBNET = "stpn-bench-", "stpn0", "10.77.0"
LOCK, FOLDER = "/run/stpn-bench.lock", "/run/stpn-bench"  # root's alone
MOST = 64  # PORTS_MOST of the switch

# sh AGENT ADDRESS COMMAND, as mpirun starts a host's daemon, and the first namespace mpirun itself: in the namespace of that
# address, with a host name and processors of its own. The last part of an address is its namespace's number.
AGENT = """number=${1##*.}
case $number in
%s
esac
shift
exec ip netns exec %s$number taskset -c "$processors" unshare --uts sh -c "hostname %s$number && $*"
"""


class Missing(Exception):
    """What is needed and not there, in words."""


def require(*built):
    """Everything that is missing in one message."""
    missing = []
    if os.geteuid():
        missing.append("root, as namespaces and devices are made")
    if not os.path.exists("/dev/net/tun"):
        missing.append("/dev/net/tun (modprobe tun)")
    for program, package in (("ip", "iproute2"), ("mpirun", "openmpi-bin"), ("unshare", "util-linux"),
                             ("taskset", "util-linux"), ("hostname", "hostname")):
        if not shutil.which(program):
            missing.append("%s (package %s)" % (program, package))
    missing += ["%s (make bench-programs)" % path for path in built if not os.access(path, os.X_OK)]
    if missing:
        raise Missing("missing: " + "; ".join(missing))


def end_on_signals():
    """So that SIGTERM and a closed terminal clean up as Ctrl-C does."""
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def ip(*words):
    result = subprocess.run(("ip",) + words, capture_output=True, text=True)
    if result.returncode:
        raise Missing("ip %s: %s" % (" ".join(words), result.stderr.strip()))
    return result.stdout


def remove_namespaces():
    """Ours, with what still runs in them."""
    for line in ip("netns", "list").splitlines():
        name = line.split()[0]
        if not name.startswith(PREFIX):
            continue
        for process in ip("netns", "pids", name).split():
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                pass
        ip("netns", "delete", name)


def share(number, count):
    """The processors of namespace `number` of `count`: where ranks that spin for messages went from one to another, two of
    them would meet on one and wait for each other for whole time slices."""
    processors = sorted(os.sched_getaffinity(0))
    own = processors[number - 1::count] or [processors[(number - 1) % len(processors)]]
    return ",".join(map(str, own))


def mpirun(ranks, *words):
    """Ranks that share processors give way where they wait: each would else spin away the time of those it waits for."""
    command = ["mpirun", "--allow-run-as-root", "-n", str(ranks), "--bind-to", "none"]
    if ranks > len(os.sched_getaffinity(0)):
        command += ["--mca", "mpi_yield_when_idle", "1"]
    return command + list(words)


def run(command, **options):
    """As subprocess.run, but asks mpirun to end its ranks before it is killed."""
    process = subprocess.Popen(command, **options)
    try:
        output, errors = process.communicate()
    except BaseException:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


class Network:
    """Namespaces 1 to `count` with one address each, and a switch between them: `delay` microseconds one way, `rate` bytes a
    second of each namespace's link (0: no limit). For `with`; one at a time on a machine."""

    def __init__(self, count, delay, rate=0, switch=os.path.join(ROOT, "build", "bench_delay_switch")):
        if not 1 <= count <= MOST:
            raise Missing("1 to %d namespaces are possible, not %d" % (MOST, count))
        self.count, self.delay, self.rate, self.path = count, delay, rate, switch
        self.lock = self.switch = None
        self.agent = os.path.join(FOLDER, "agent")
        self.statistics = {}

    def __enter__(self):
        require(self.path)
        self.lock = open(LOCK, "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise Missing("another network of this program is up; one at a time") from None
        try:
            self.remove()  # of one that was killed
            self.make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def make(self):
        os.mkdir(FOLDER, 0o700)
        ends, shares = [], []
        for i in range(1, self.count + 1):
            name, address = "%s%d" % (PREFIX, i), "%s.%d" % (SUBNET, i)
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "tuntap", "add", "dev", DEVICE, "mode", "tun", "vnet_hdr")
            ip("-n", name, "address", "add", address + "/24", "dev", DEVICE)
            ip("-n", name, "link", "set", DEVICE, "up")
            ends.append("%s=%s" % (name, address))
            shares.append("    %d) processors=%s ;;" % (i, share(i, self.count)))
        with open(self.agent, "w") as file:
            file.write(AGENT % ("\n".join(shares), PREFIX, PREFIX))
        self.switch = subprocess.Popen([self.path, repr(float(self.delay)), repr(float(self.rate)), DEVICE, *ends],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.switch.stdout.readline() != "ready\n":
            raise Missing(self.switch.communicate()[1].strip() or "the switch ended at once")

    def close(self):
        """The switch first: with the end of its input it ends, and says what it saw."""
        if self.switch:
            output = self.switch.communicate()[0]
            if output:
                self.statistics = json.loads(output)
            self.switch = None
        self.remove()
        self.lock.close()

    @staticmethod
    def remove():
        remove_namespaces()
        shutil.rmtree(FOLDER, ignore_errors=True)

    def command(self, words, namespaces=0, each=1):
        """The words that run `words` with `each` ranks in each of the first `namespaces` (0: all) of them."""
        count = namespaces or self.count
        hosts = ",".join("%s.%d:%d" % (SUBNET, i, each) for i in range(1, count + 1))
        subnet = SUBNET + ".0/24"
        inside = mpirun(count * each, "--mca", "plm_rsh_agent", "sh " + self.agent, "--mca", "plm_rsh_no_tree_spawn", "1",
                        "--mca", "orte_tmpdir_base", FOLDER, "--host", hosts, "--mca", "pml", "ob1", "--mca", "btl", "tcp,self",
                        "--mca", "btl_tcp_if_include", subnet, "--mca", "oob_tcp_if_include", subnet)
        return ["sh", self.agent, SUBNET + ".1", shlex.join(inside + words)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--namespaces", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1, help="in each namespace (default 1)")
    parser.add_argument("--delay", type=float, default=0, help="microseconds, one way (default 0)")
    parser.add_argument("--rate", type=float, default=0, help="bytes a second of each namespace's link (default 0: no limit)")
    parser.add_argument("--switch", default=os.path.join(ROOT, "build", "bench_delay_switch"))
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    options = parser.parse_args()
    if options.ranks < 1 or options.delay < 0 or options.rate < 0:
        parser.error("--ranks has to be 1 or more, --delay and --rate 0 or more")
    end_on_signals()
    network = Network(options.namespaces, options.delay, options.rate, options.switch)
    try:
        with network:
            code = run(network.command(options.command, each=options.ranks)).returncode
    except Missing as error:
        print("bench/namespaces.py: %s" % error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        return 130
    seen = network.statistics
    print("bench/namespaces.py: %(packets)d packets, %(bytes)d bytes, %(dropped)d dropped; late by %(late_us_mean).1f us in the "
          "mean, %(late_us_most).1f at most" % seen, file=sys.stderr)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
