/* stpn COMMAND ...: finds the command, reads its words, runs it, and sees to it that what it printed was written. */
#include "cli/cli.h"
#include "cli/ranks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int run_command(int word_count, char **words)
{
    if (word_count < 2) {
        complain_of_use("", "a command is missing; see stpn help");
        return EXIT_WRONG_USE;
    }
    const char *word = words[1];
    if (strcmp(word, "--version") == 0) {
        printf("stpn %s\n", stpn_version());
        return EXIT_DONE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        print_overview();
        return EXIT_DONE;
    }
    const command *c = command_find(word);
    if (!c && word[0] == '-') return complain_of_use("", "%s stands where a command is expected; see stpn help", word);
    if (!c) return complain_of_command(word);
    int is_told = c == &command_train && ranks_in_environment().rank > 0; // by rank 0
    if (is_told) say_nothing();
    arguments a;
    int code = arguments_read(&a, &c->table, word_count, words);
    if (!code && a.wants_help) {
        if (!is_told) print_command_help(c);
    } else if (!code) {
        code = c->run(&a);
    } else if (c == &command_train) {
        train_refuse(code);
    }
    arguments_free(&a);
    return code;
}

/* A missing standard stream would be the next file that is opened: a result could end up in a checkpoint. */
static void fill_standard_streams(void)
{
    for (int descriptor = 0; descriptor <= 2; descriptor++)
        if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) (void)open("/dev/null", O_RDONLY);
}

/* A result that nobody received is no success. */
static int close_output(int code)
{
    errno = 0;
    int failed = fflush(stdout) != 0 || ferror(stdout);
    if (!failed || code > EXIT_CHECK_FAILED) return code;
    say("standard output: %s", errno ? strerror(errno) : "cannot be written");
    return EXIT_SYSTEM_FAILED;
}

int main(int argc, char **argv)
{
    /* Whole results go out at once, and what goes wrong is known where the exit code is made. */
    static char buffer[1 << 16];
    fill_standard_streams();
    if (!isatty(STDOUT_FILENO)) (void)setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    /* A closed pipe and a limit on file sizes come back as errors of the write, and are told. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return close_output(run_command(argc, argv));
}
