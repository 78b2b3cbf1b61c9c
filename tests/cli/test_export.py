"""stpn export: the C file of a trained network answers a thousand test sequences as the library does, here and on a Cortex-M4 in
qemu; what it takes there is what docs/exporting.md says; what is kept, what is refused."""
import array
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from support import SOURCE, CommandTest, environment, read, read_tensors, write  # noqa: E402

BUILD = os.environ.get("STPN_BUILD") or os.path.join(SOURCE, "build")
BOARD = os.path.join(SOURCE, "tests", "cli", "cortex_m4")
PAGE = os.path.join(SOURCE, "docs", "exporting.md")
SANITIZER = os.environ.get("STPN_TEST_FLAGS", "").split()
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Werror"]
SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789?"
SEQUENCES = 1000
# Training goes to the same bits on every machine, and so does what rounding is amplified to.
PORTABLE = environment(STPN_KERNEL="portable")

# The outputs of every step, by the library in REAL and by the exported network "net": tokens from a file, 255 starts a sequence.
LIBRARY = r"""
#include <stdio.h>
#include <stpn/stpn.h>

int main(int count, char **words)
{
    stpn_unit unit = stpn_unit_default("stpn_r", 11);
    stpn_head head = {"readout", 37};
    stpn_net_desc desc = {.real = sizeof(REAL) == sizeof(float) ? STPN_FLOAT : STPN_DOUBLE, .inputs = 37, .units = &unit, .unit_count = 1, .heads = &head, .head_count = 1};
    stpn_error error = {"wrong use"};
    stpn_net *net;
    stpn_state *state;
    FILE *in = fopen("tokens", "rb"), *out = fopen("library", "wb");
    if (count != 2 || !in || !out || stpn_net_create(&net, &desc, &error) || stpn_net_load(net, words[1], &error) ||
        stpn_state_create(&state, net, 1, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    for (int token; (token = fgetc(in)) != EOF;) {
        REAL x[37] = {0}, h[11], y[37];
        if (token == 255) {
            stpn_state_zero(state);
            continue;
        }
        x[token] = 1;
        stpn_step(net, state, x, h);
        stpn_head_forward(net, 0, 1, h, y);
        fwrite(y, sizeof y, 1, out);
    }
    stpn_state_free(state);
    stpn_net_free(net);
    return fclose(out);
}
"""
HOST = r"""
#include "net.h"
#include <stdio.h>

int main(void)
{
    net_state state;
    float y[NET_OUTPUTS];
    FILE *in = fopen("tokens", "rb"), *out = fopen("outputs", "wb");
    if (!in || !out) return 1;
    for (int token; (token = fgetc(in)) != EOF;) {
        if (token == 255) net_init(&state);
        else {
            net_token(&state, token, y);
            fwrite(y, sizeof y, 1, out);
        }
    }
    return fclose(out);
}
"""


def page():
    return read(PAGE).decode()


class Export(CommandTest):
    def compile(self, *words):
        result = subprocess.run(list(words), cwd=self.folder, capture_output=True, text=True, env=PORTABLE)
        self.assertEqual(result.returncode, 0, " ".join(words) + "\n" + result.stdout + result.stderr)
        return result.stdout

    def values(self, name, code="f"):
        values = array.array(code)
        values.frombytes(read(self.path(name)))
        return values

    def library(self, parameters, real):
        write(self.path("library.c"), LIBRARY)
        flags = self.compile("pkg-config", "--cflags", "--libs", "jansson", "zlib").split()
        self.compile("cc", "-std=c17", *SANITIZER, "-I" + os.path.join(SOURCE, "include"), "-DREAL=" + real, "library.c",
                     os.path.join(BUILD, "libstpn.a"), *flags, "-lm", "-pthread", "-o", "library_program")
        self.compile("./library_program", parameters)
        return self.values("library", real[0])

    def assert_same(self, expected, exact, answers):
        """Outputs as close to those in double as the library's in float are; after a sequence's last step the same answer."""
        outputs, width = self.values("outputs"), len(SYMBOLS)
        self.assertEqual(len(outputs), len(expected))
        largest = max(abs(value) for value in exact)
        self.assertGreater(largest, 1)
        errors = [max(abs(a - b) for a, b in zip(each, exact)) / largest for each in (outputs, expected)]
        self.assertLess(errors[1], 1e-5)
        self.assertLess(errors[0], 2 * errors[1])
        steps = len(outputs) // width // SEQUENCES
        for number, answer in enumerate(answers):
            row = outputs[(steps * number + steps - 1) * width:][:width]
            self.assertEqual(SYMBOLS[max(range(width), key=row.__getitem__)], answer, "sequence %d" % number)
        os.remove(self.path("outputs"))

    def run_here(self):
        write(self.path("host.c"), HOST)
        self.compile("cc", *STRICT, *SANITIZER, "-O2", "host.c", "net.c", "-lm", "-o", "host_program")
        self.compile("./host_program")

    def run_on_the_board(self):
        flags = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-O2", "-fno-math-errno"]
        self.compile("arm-none-eabi-gcc", *flags, *STRICT, "-c", "net.c")
        self.compile("arm-none-eabi-gcc", *flags, "-Wall", "-Wextra", "-Werror", "-I.", "-c", os.path.join(BOARD, "board.c"))
        self.compile("arm-none-eabi-gcc", *flags, "--specs=nano.specs", "-nostartfiles", "-Wl,--gc-sections", "-T",
                     os.path.join(BOARD, "board.ld"), "board.o", "net.o", "-lm", "-o", "net.elf")
        # With -icount shift=0 an instruction takes a nanosecond; the board's clock ticks at 25 MHz.
        subprocess.run(["qemu-system-arm", "-M", "mps2-an386", "-icount", "shift=0", "-display", "none", "-monitor", "none",
                        "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"],
                       cwd=self.folder, check=True, timeout=120, stdin=subprocess.DEVNULL)
        ticks, stack = struct.unpack("<2I", read(self.path("told")))
        sizes = {}
        for line in self.compile("arm-none-eabi-size", "net.o", "board.o", "net.elf").splitlines()[1:]:
            text, data, bss, _, _, name = line.split()
            sizes[name] = (int(text), int(data) + int(bss))
        self.assertEqual(sizes["net.o"][1], 0)  # nothing but the caller's state
        return {"instructions": 40 * ticks / (9 * SEQUENCES), "stack": stack, "network": sizes["net.o"][0],
                "functions": sizes["net.elf"][0] - sizes["net.o"][0] - sizes["board.o"][0]}

    def assert_as_the_page_says(self, measured):
        rows = dict(re.findall(r"^\| [^|]* <!-- (\w+) --> \| ([\d ]+) ", page(), re.MULTILINE))
        self.assertEqual(sorted(rows), sorted([*measured, "state"]))
        print(measured, file=sys.stderr)
        for name, value in measured.items():
            told = int(rows[name].replace(" ", ""))
            self.assertLess(abs(told - value), 0.1 * value, "%s: the page says %d, it is %g" % (name, told, value))
        self.assertEqual(int(rows["state"].replace(" ", "")), 4 * 11 * (37 + 11) + 4 * 11)

    def test_a_trained_network_here_and_on_a_cortex_m4(self):
        self.train("run", "--set", "task.train=2048", "--set", "task.test=%d" % SEQUENCES, env=PORTABLE)
        examples = self.document("eval", "run", "--best", "--json", "--examples", str(SEQUENCES), env=PORTABLE)["examples"]
        self.assertEqual(len(examples), SEQUENCES)
        answers = [example["answer"] for example in examples]
        self.assertGreater(len(set(answers)), 5)
        write(self.path("tokens"), b"".join(bytes([255] + [SYMBOLS.index(c) for c in e["sequence"]]) for e in examples))
        document = self.document("export", "run", "--best", "--name", "net", "--json")
        self.assertEqual({**document, "run": "", "parameters": ""},
                         {"run": "", "parameters": "", "name": "net", "code": "./net.c", "header": "./net.h", "inputs": 37,
                          "outputs": 37, "parameter_bytes": 4 * (3 * 11 * 48 + 11 + 37 * 11 + 37), "state_bytes": 2156,
                          "stack_bytes": 4 * (48 + 11 + 11 + 11)})
        expected, exact = (self.library("run/best.safetensors", real) for real in ("float", "double"))
        self.run_here()
        self.assert_same(expected, exact, answers)
        if SANITIZER:
            return  # the board runs the same code whatever the build
        missing = [name for name in ("arm-none-eabi-gcc", "qemu-system-arm") if not shutil.which(name)]
        if missing:
            self.skipTest("no %s; scripts/install-packages.sh test installs it" % " and no ".join(missing))
        measured = self.run_on_the_board()
        self.assert_same(expected, exact, answers)
        self.assert_as_the_page_says(measured)

    def test_the_page(self):
        self.train("run", "--set", "train.epochs=1")
        block, = re.findall(r"(?s)```c\n(.*?)```", page())
        write(self.path("program.c"), block)
        self.succeed("export", "run", "--name", "net")
        for line in re.findall(r"(?m)^    cc .*", page()):
            self.compile(*line.split(), *SANITIZER)
        self.assertRegex(self.compile("./program"), r"\A[a-z0-9?]\n\Z")

    def test_names_and_files(self):
        self.train("run", "--set", "train.epochs=1")
        self.assertIn("./small.c, ./small.h: ", self.succeed("export", "run").stdout)
        self.assertIn("small, seed 3, last parameters", read(self.path("small.c")).decode())
        first = read(self.path("small.c"))
        self.succeed("export", "run", "--best")  # an exported file is replaced
        self.assertNotEqual(read(self.path("small.c")), first)
        self.succeed("export", "run", "--out", "a/b", "--name", "other")
        self.assertEqual(sorted(os.listdir(self.path("a/b"))), ["other.c", "other.h"])
        write(self.path("mine.h"), "int mine;\n")
        self.refuse(2, "export", "run", "--name", "mine", says="mine.h: is there already and was not written by stpn export")
        self.assertFalse(os.path.exists(self.path("mine.c")))
        for name in ("2net", "a-b", "while", "math", "", "a" * 48, "../x"):
            self.refuse(2, "export", "run", "--name", name, says=["--name is", "expected a letter"])
        self.refuse(2, "export", "nothing", says="no folder of a run")
        self.refuse(2, "export", "run", "--out", "small.c")

    def test_what_an_agent_sees_scaled(self):
        agent = {"name": "9-agent", "task": {"name": "maze", "size": 7, "steps": 25},
                 "units": [{"name": "stpn_f", "hidden": 8}, {"name": "lstm", "hidden": 4}],
                 "train": {"method": "ppo", "steps": 400, "batch": 8, "rollout": 25, "test_iterations": 1,
                           "normalise_observations": True}}
        self.file = self.write_experiment("agent.json", agent)
        self.train("run")
        header, data = read_tensors(self.path("run", "last.safetensors"))
        begin, end = header["scaling.mean"]["data_offsets"]
        means = struct.unpack("<%dd" % ((end - begin) // 8), data[begin:end])
        self.succeed("export", "run")
        code, declared = read(self.path("net_9_agent.c")).decode(), read(self.path("net_9_agent.h")).decode()
        constants = re.search(r"mean\[\d+\] = \{(.*?)\}", code, re.DOTALL).group(1).replace("f,", " ").split()
        self.assertEqual(array.array("f", map(float, constants)), array.array("f", means))
        self.assertIn("unit_0(state, scaled, rows_0)", code)
        for line in ("NET_9_AGENT_POLICY_AT 0", "NET_9_AGENT_POLICY_COUNT 4", "NET_9_AGENT_VALUE_AT 4", "NET_9_AGENT_OUTPUTS 5"):
            self.assertIn("#define %s\n" % line, declared)
        self.compile("cc", *STRICT, "-c", "net_9_agent.c")


if __name__ == "__main__":
    unittest.main()
