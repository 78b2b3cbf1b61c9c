/* An exported network named "net" on a Cortex-M4 with its floating-point unit: takes the tokens of the file "tokens", where
 * 255 starts a sequence, writes the outputs of every step to "outputs", and to "told" two numbers: ticks of the clock in all
 * steps, and bytes of the stack that was used in all. The files are the host's (semihosting). */
#include "net.h"

#include <stdint.h>

extern uint32_t stack_top[];

enum { OPEN = 0x01, WRITE = 0x05, READ = 0x06, EXIT = 0x20, APPLICATION_EXIT = 0x20026 };
enum { READ_BINARY = 1, WRITE_BINARY = 5, PAINT = 0x5a5a5a5a, PAINTED = 2048, OWN = 32 };

#define CPACR (*(volatile uint32_t *)0xe000ed88U)
#define CLOCK_CONTROL (*(volatile uint32_t *)0xe000e010U)
#define CLOCK_RELOAD (*(volatile uint32_t *)0xe000e014U)
#define CLOCK_NOW (*(volatile uint32_t *)0xe000e018U)

static intptr_t host(int operation, const void *block)
{
    register intptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(int code)
{
    const intptr_t block[2] = {APPLICATION_EXIT, code};
    host(EXIT, block);
    for (;;) continue;
}

static intptr_t open(const char *name, int length, int mode)
{
    const intptr_t block[3] = {(intptr_t)name, mode, length};
    intptr_t file = host(OPEN, block);
    if (file < 0) leave(3);
    return file;
}

/* Bytes that were not transferred. */
static intptr_t transfer(int operation, intptr_t file, const void *data, int size)
{
    const intptr_t block[3] = {file, (intptr_t)data, size};
    return host(operation, block);
}

static void run(intptr_t tokens, intptr_t outputs, uint32_t *ticks)
{
    static net_state state;
    static float y[NET_OUTPUTS];
    unsigned char token;
    while (transfer(READ, tokens, &token, 1) == 0) {
        if (token == 255) {
            net_init(&state);
            continue;
        }
        uint32_t before = CLOCK_NOW;
        net_token(&state, token, y);
        *ticks += (before - CLOCK_NOW) & 0xffffff; // it counts down
        if (transfer(WRITE, outputs, y, sizeof y)) leave(3);
    }
}

/* Bytes from `frame` down to the lowest word that is no longer painted. */
static uint32_t reached(const uint32_t *frame, const uint32_t *bottom)
{
    while (*bottom == PAINT) bottom++;
    return (uint32_t)(frame - bottom) * (uint32_t)sizeof *bottom;
}

void start(void)
{
    CPACR |= 0xfU << 20; // the floating-point unit
    __asm__ volatile("dsb\n\tisb");
    CLOCK_RELOAD = 0xffffff;
    CLOCK_CONTROL = 5;
    uint32_t told[2] = {0, 0}, *frame = __builtin_frame_address(0), *bottom = frame - PAINTED;
    for (int i = 0; i < PAINTED - OWN; i++) bottom[i] = PAINT;
    run(open("tokens", 6, READ_BINARY), open("outputs", 7, WRITE_BINARY), &told[0]);
    told[1] = reached(frame, bottom);
    leave(transfer(WRITE, open("told", 4, WRITE_BINARY), told, sizeof told) != 0);
}

static void fault(void)
{
    leave(4);
}

__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)stack_top, (uintptr_t)start, (uintptr_t)fault, (uintptr_t)fault,
    (uintptr_t)fault,     (uintptr_t)fault, (uintptr_t)fault,
};
