/* The loops whose rates are the machine's ceilings: one table per instruction set, chosen when the program runs. */
#ifndef STPN_BENCH_CEILINGS_H
#define STPN_BENCH_CEILINGS_H

#include <stddef.h>
#include <stdint.h>

enum { CEILING_STRIDE = 512 }; // bytes: a buffer's size is a multiple of this

typedef struct ceiling_loops {
    const char *name;
    int width, sums;                                                 // values of a vector; multiply-adds of a turn
    float (*multiply_add)(int64_t turns);                            // of vectors
    float (*read)(const float *values, size_t count, int64_t turns); // every value once a turn
    void (*update)(float *values, size_t count, int64_t turns);      // every value read and written once a turn
    void (*triad)(float *values, size_t count, int64_t turns);       // two thirds read, one third written a turn
} ceiling_loops;

#endif
