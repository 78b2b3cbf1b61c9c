"""The page docs/adding-a-unit.md by itself gives a unit that is right: its file and its row are compiled as printed there,
in front of the library's own registry, and its outputs and gradient are compared with the equation."""
import os
import re
import subprocess
import tempfile
import unittest

SOURCE = os.environ["STPN_SOURCE_DIR"]
BUILD = os.environ["STPN_BUILD"]

PROGRAM = r"""
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <stpn/stpn.h>

enum { T = 5, B = 3, I = 2, H = 4, K = I + H };

static double weight[H * K], bias[H], x[T * B * I], dy[T * B * H];

/* The equation of the page, in plain loops: sum of y dy, and y. */
static double loss(double *y)
{
    double total = 0;
    for (int b = 0; b < B; b++) {
        double h[H] = {0};
        for (int t = 0; t < T; t++) {
            double next[H];
            for (int j = 0; j < H; j++) {
                double p = bias[j];
                for (int i = 0; i < I; i++) p += weight[j * K + i] * x[(t * B + b) * I + i];
                for (int i = 0; i < H; i++) p += weight[j * K + I + i] * h[i];
                next[j] = 0.5 * h[j] + 0.5 * tanh(p);
            }
            for (int j = 0; j < H; j++) {
                h[j] = next[j];
                if (y) y[(t * B + b) * H + j] = h[j];
                total += h[j] * dy[(t * B + b) * H + j];
            }
        }
    }
    return total;
}

static int check(const char *what, double got, double expected, double bound)
{
    if (fabs(got - expected) <= bound) return 0;
    printf("%s is %.17g, expected %.17g\n", what, got, expected);
    return 1;
}

int main(void)
{
    stpn_unit unit = stpn_unit_default("leaky", H);
    stpn_net_desc desc = {.real = STPN_DOUBLE, .inputs = I, .units = &unit, .unit_count = 1};
    stpn_error error;
    stpn_net *net;
    stpn_state *state;
    stpn_tape *tape;
    if (stpn_net_create(&net, &desc, &error) || stpn_state_create(&state, net, B, &error) ||
        stpn_tape_create(&tape, net, T, B, 1, &error)) {
        printf("%s\n", error.message);
        return 1;
    }
    stpn_net_init(net, 1);
    stpn_block_get(net, stpn_net_parameters(net), 0, weight);
    stpn_block_get(net, stpn_net_parameters(net), 1, bias);
    for (int i = 0; i < T * B * I; i++) x[i] = sin(i + 1.0);
    for (int i = 0; i < T * B * H; i++) dy[i] = cos(3.0 * i);
    double y[T * B * H], expected[T * B * H], dweight[H * K], dbias[H];
    stpn_sequence sequence = {.steps = T, .batch = B, .type = STPN_INPUT_DOUBLE, .x = x};
    void *gradient = stpn_block_create(net);
    if (stpn_forward(net, state, &sequence, y, NULL, tape, NULL, &error) ||
        stpn_backward(net, tape, dy, NULL, gradient, NULL, NULL, &error)) {
        printf("%s\n", error.message);
        return 1;
    }
    stpn_block_get(net, gradient, 0, dweight);
    stpn_block_get(net, gradient, 1, dbias);
    int wrong = 0;
    loss(expected);
    for (int i = 0; i < T * B * H; i++) wrong += check("y", y[i], expected[i], 1e-12);
    for (int i = 0; i < H * K + H; i++) {
        double *value = i < H * K ? &weight[i] : &bias[i - H * K], kept = *value, step = 1e-6;
        *value = kept + step;
        double above = loss(NULL);
        *value = kept - step;
        double below = loss(NULL);
        *value = kept;
        wrong += check("gradient", i < H * K ? dweight[i] : dbias[i - H * K], (above - below) / (2 * step), 1e-8);
    }
    stpn_block_free(gradient);
    stpn_tape_free(tape);
    stpn_state_free(state);
    stpn_net_free(net);
    return wrong != 0;
}
"""


class AddingAUnit(unittest.TestCase):
    def test_the_page_alone_is_enough(self):
        with open(os.path.join(SOURCE, "docs/adding-a-unit.md"), encoding="utf-8") as file:
            blocks = re.findall(r"(?s)```c\n(.*?)```", file.read())
        unit = [b for b in blocks if "unit_type unit_leaky" in b]
        row = [b.strip() for b in blocks if "ROW(leaky)" in b]
        self.assertEqual((len(unit), len(row)), (1, 1))
        with open(os.path.join(SOURCE, "src/units/registry.c"), encoding="utf-8") as file:
            registry = file.read()
        changed, count = re.subn(r"(#define REGISTRY\(ROW\) *\\\n)", lambda m: m.group(1) + "    %s \\\n" % row[0], registry)
        self.assertEqual(count, 1)
        with tempfile.TemporaryDirectory() as folder:
            for name, text in (("leaky.c", unit[0]), ("registry.c", changed), ("program.c", PROGRAM)):
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(text)
            sanitizer = os.environ.get("STPN_TEST_FLAGS", "").split()  # of the library it is linked with
            jansson = subprocess.run(["pkg-config", "--cflags", "--libs", "jansson"], capture_output=True, text=True,
                                     check=True).stdout.split()
            command = ["cc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-D_POSIX_C_SOURCE=200809L", *sanitizer,
                       "-I" + os.path.join(SOURCE, "include"), "-I" + os.path.join(SOURCE, "src"),
                       *(os.path.join(folder, n) for n in ("program.c", "leaky.c", "registry.c")),
                       os.path.join(BUILD, "libstpn.a"), *jansson, "-lm", "-pthread", "-o", os.path.join(folder, "program")]
            built = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(built.returncode, 0, built.stderr)
            result = subprocess.run([os.path.join(folder, "program")], capture_output=True, text=True)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


if __name__ == "__main__":
    unittest.main()
