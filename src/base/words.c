#include "base/words.h"

#include <stddef.h>
#include <string.h>

int words_distance(const char *a, const char *b)
{
    enum { MOST = 40 };
    size_t n = strlen(a), m = strlen(b);
    int row[MOST + 1];
    if (n > MOST || m > MOST) return MOST;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int least = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < least) least = row[j] + 1;
            if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = least;
        }
    }
    return row[m];
}

const char *words_nearest(const char *text, const char *const *words, int count)
{
    const char *nearest = NULL;
    int least = 0;
    for (int i = 0; i < count; i++) {
        int d = words_distance(text, words[i]);
        if (nearest && d >= least) continue;
        least = d;
        nearest = words[i];
    }
    return nearest;
}
