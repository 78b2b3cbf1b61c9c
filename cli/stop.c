#include "cli/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

volatile sig_atomic_t stop_asked;

int stop_is_asked(void)
{
    return __atomic_load_n(&stop_asked, __ATOMIC_RELAXED);
}

/* The first signal asks to stop, the next one kills. */
static void on_signal(int number)
{
    (void)number;
    __atomic_store_n(&stop_asked, 1, __ATOMIC_RELAXED);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
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
