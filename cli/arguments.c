#include "cli/arguments.h"

#include "base/memory.h"
#include "base/words.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int read_integer(const char *text, int64_t least, int64_t most, int64_t *number)
{
    const char *digits = *text == '-' ? text + 1 : text;
    /* strtoll would take blanks and a plus sign. */
    if (*digits < '0' || *digits > '9') return 0;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end || errno || value < least || value > most) return 0;
    *number = value;
    return 1;
}

static int complain_of_option(const argument_table *table, const char *word)
{
    enum { MOST = 32 };
    const char *names[MOST] = {"--help"};
    int count = 1;
    for (; count <= table->option_count && count < MOST; count++) names[count] = table->options[count - 1].name;
    return complain_of_use(table->command, "there is no option %s; the nearest is %s", word,
                           words_nearest(word, names, count));
}

/* An option with its value, in the same word behind '=' or in the next one. */
static int read_option(arguments *a, int *at)
{
    const argument_table *table = a->table;
    const char *word = a->words[*at], *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const argument_option *option = NULL;
    for (int i = 0; i < table->option_count; i++) {
        const char *name = table->options[i].name;
        if (strlen(name) == length && memcmp(name, word, length) == 0) option = &table->options[i];
    }
    if (!option) return complain_of_option(table, word);
    const char *value = equals ? equals + 1 : NULL;
    if (value && !option->value) return complain_of_use(table->command, "%s takes no value", option->name);
    if (option->value && !value) {
        const char *next = *at + 1 < a->word_count ? a->words[*at + 1] : NULL;
        /* Another option in its place is more likely a slip than a value. */
        if (!next || strncmp(next, "--", 2) == 0)
            return complain_of_use(table->command, "%s needs a value: %s %s", option->name, option->name,
                                   option->value);
        value = next;
        ++*at;
    }
    if (!option->repeats && arguments_have(a, option->name))
        return complain_of_use(table->command, "%s is given twice", option->name);
    a->given[a->given_count++] = (argument_given){option, value};
    return EXIT_DONE;
}

static int check_operands(const arguments *a)
{
    const argument_table *table = a->table;
    if (a->operand_count < table->operand_least)
        return complain_of_use(table->command, "%s is missing; see stpn help %s", table->operand, table->command);
    if (a->operand_count > table->operand_most)
        return complain_of_use(table->command, "\"%s\" is one word too many; see stpn help %s",
                               a->operands[table->operand_most], table->command);
    return EXIT_DONE;
}

int arguments_read(arguments *a, const argument_table *table, int word_count, char **words)
{
    *a = (arguments){.table = table, .word_count = word_count, .words = words};
    a->given = memory_zeroed((size_t)word_count, sizeof *a->given);
    a->operands = memory_zeroed((size_t)word_count, sizeof *a->operands);
    if (!a->given || !a->operands) return complain_of_memory();
    int only_operands = 0;
    for (int i = 2; i < word_count; i++) {
        const char *word = words[i];
        if (only_operands || word[0] != '-' || word[1] == 0) {
            a->operands[a->operand_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            only_operands = 1;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            a->wants_help = 1;
            return EXIT_DONE;
        } else {
            int code = read_option(a, &i);
            if (code) return code;
        }
    }
    return check_operands(a);
}

void arguments_free(arguments *a)
{
    memory_free(a->given);
    memory_free(a->operands);
}

static const argument_given *find(const arguments *a, const char *name)
{
    for (int i = 0; i < a->given_count; i++)
        if (strcmp(a->given[i].option->name, name) == 0) return &a->given[i];
    return NULL;
}

int arguments_have(const arguments *a, const char *name)
{
    return find(a, name) != NULL;
}

int arguments_settings(const arguments *a, const char **settings)
{
    int count = 0;
    for (int i = 0; i < a->given_count; i++)
        if (strcmp(a->given[i].option->name, "--set") == 0) settings[count++] = a->given[i].value;
    return count;
}

const char *setting_of_seed(const char *const *settings, int count)
{
    for (int i = 0; i < count; i++)
        if (strncmp(settings[i], "seed=", 5) == 0) return settings[i];
    return NULL;
}

const char *arguments_value(const arguments *a, const char *name)
{
    const argument_given *given = find(a, name);
    return given ? given->value : NULL;
}

int arguments_number(const arguments *a, const char *name, int64_t least, int64_t most, int64_t *number)
{
    const char *value = arguments_value(a, name);
    if (!value || read_integer(value, least, most, number)) return EXIT_DONE;
    return complain_of_use(a->table->command, "%s is \"%s\", expected an integer from %lld to %lld", name, value,
                           (long long)least, (long long)most);
}
