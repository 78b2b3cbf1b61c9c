#include "base/random.h"

#include <Random123/philox.h>
#include <math.h>

random_stream random_open(uint64_t seed, random_purpose purpose, uint64_t stream)
{
    return (random_stream){.seed = seed, .stream = stream, .purpose = (uint32_t)purpose};
}

uint32_t random_bits(random_stream *s)
{
    if (s->left == 0) {
        philox4x32_ctr_t counter = {{s->block++, s->purpose, (uint32_t)s->stream, (uint32_t)(s->stream >> 32)}};
        philox4x32_key_t key = {{(uint32_t)s->seed, (uint32_t)(s->seed >> 32)}};
        philox4x32_ctr_t drawn = philox4x32(counter, key);
        for (int i = 0; i < 4; i++) s->word[i] = drawn.v[i];
        s->left = 4;
    }
    return s->word[4 - s->left--];
}

uint32_t random_below(random_stream *s, uint32_t bound)
{
    /* Lemire 2019: the high half of a product, redrawn in the few cases that would be biased. */
    uint64_t product = (uint64_t)random_bits(s) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = (uint32_t)(-bound) % bound;
        while ((uint32_t)product < threshold) product = (uint64_t)random_bits(s) * bound;
    }
    return (uint32_t)(product >> 32);
}

double random_unit(random_stream *s)
{
    uint64_t high = random_bits(s);
    uint64_t low = random_bits(s);
    return (double)(((high << 32) | low) >> 11) * 0x1p-53;
}

double random_range(random_stream *s, double low, double high)
{
    double value = low + (high - low) * random_unit(s);
    return value < high ? value : nextafter(high, low);
}

double random_normal(random_stream *s)
{
    double radius = sqrt(-2.0 * log(1.0 - random_unit(s)));
    return radius * cos(6.283185307179586 * random_unit(s));
}
