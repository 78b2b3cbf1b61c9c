/* Counter-based random numbers (Philox 4x32-10, Salmon et al. 2011, from Random123): a draw depends on the seed, the
 * purpose, the stream and its place in the stream, never on who drew before. */
#ifndef STPN_BASE_RANDOM_H
#define STPN_BASE_RANDOM_H

#include <stdint.h>

/* What a draw is for; the numbers stand in no file but decide every draw, so they never change. */
typedef enum random_purpose {
    RANDOM_INIT = 1,
    RANDOM_TRAIN = 2,
    RANDOM_VALIDATION = 3,
    RANDOM_TEST = 4,
    RANDOM_SHUFFLE = 5,
    RANDOM_BENCH = 6,
    RANDOM_PROBE = 7,
    RANDOM_SPLIT = 8,
    RANDOM_POLICY = 10,
    RANDOM_ACTION = 11,
    RANDOM_TEST_ACTION = 12,
    RANDOM_SWEEP = 13
} random_purpose;

typedef struct random_stream {
    uint64_t seed;
    uint64_t stream; /* for instance the index of a sequence */
    uint32_t purpose;
    uint32_t block;   /* next Philox block of this stream */
    uint32_t word[4]; /* the current block */
    int left;         /* its words not yet drawn */
} random_stream;

random_stream random_open(uint64_t seed, random_purpose purpose, uint64_t stream);
uint32_t random_bits(random_stream *stream);
/* Uniform in [0, bound) without bias; bound at least 1. */
uint32_t random_below(random_stream *stream, uint32_t bound);
/* Uniform in [0, 1) with 53 bits. */
double random_unit(random_stream *stream);
/* Uniform in [low, high). */
double random_range(random_stream *stream, double low, double high);
/* Standard normal (Box-Muller, one of the pair). */
double random_normal(random_stream *stream);

#endif
