#include "cli/stop.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

volatile sig_atomic_t stop_asked;

int stop_is_asked(void)
{
    return __atomic_load_n(&stop_asked, __ATOMIC_ACQUIRE);
}

/* The first signal asks to stop, a later one kills. What launches a program may send the same signal to it and to its group,
 * so what comes right behind the first one counts as the same. */
static void on_signal(int number)
{
    enum { TOGETHER_MS = 200 };
    static int64_t first;
    struct timespec now;
    int before = errno;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (!stop_is_asked()) {
        __atomic_store_n(&first, ms, __ATOMIC_RELAXED);
        __atomic_store_n(&stop_asked, 1, __ATOMIC_RELEASE);
    } else if (ms - __atomic_load_n(&first, __ATOMIC_RELAXED) > TOGETHER_MS) {
        signal(number, SIG_DFL);
        raise(number);
    }
    errno = before;
}

void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action;
        /* A shell lets a job in the background ignore them. */
        if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler == SIG_IGN) continue;
        action = (struct sigaction){.sa_handler = on_signal};
        sigemptyset(&action.sa_mask);
        sigaction(numbers[i], &action, NULL);
    }
}

/* A word as a shell takes it back. */
static void print_word(FILE *file, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=,:+@%";
    if (*word && word[strspn(word, plain)] == 0) {
        fputs(word, file);
        return;
    }
    fputc('\'', file);
    for (; *word; word++)
        if (*word == '\'') fputs("'\\''", file);
        else fputc(*word, file);
    fputc('\'', file);
}

void say_how_to_resume(const arguments *a, const char *option, const char *what)
{
    const char *kernel = getenv("STPN_KERNEL");
    fprintf(stderr, "stpn: %s; go on with: ", what);
    if (kernel && *kernel) {
        fputs("STPN_KERNEL=", stderr);
        print_word(stderr, kernel);
        fputc(' ', stderr);
    }
    for (int i = 0; i < a->word_count; i++) {
        if (i) fputc(' ', stderr);
        print_word(stderr, a->words[i]);
        if (i == 1 && option && !arguments_have(a, option)) fprintf(stderr, " %s", option);
    }
    fputc('\n', stderr);
}
