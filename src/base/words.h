/* Words that a person may have misspelt. */
#ifndef STPN_BASE_WORDS_H
#define STPN_BASE_WORDS_H

/* Letters to change, add or drop to turn one word into the other. */
int words_distance(const char *a, const char *b);
/* The nearest of `count` words, the first of equals; NULL where there is none. */
const char *words_nearest(const char *text, const char *const *words, int count);

#endif
