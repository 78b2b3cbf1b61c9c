/* A small network of one STPN-R and one read-out, with everything that calls take beside it. */
#ifndef STPN_TESTS_SMALL_NET_H
#define STPN_TESTS_SMALL_NET_H

#include <stpn/stpn.h>

enum { I = 3, H = 4, T = 2, B = 2, OUT = 2 };

typedef struct small_net {
    stpn_net *net;
    stpn_state *state;
    stpn_tape *tape;
    stpn_adam *adam;
    float *grad;
} small_net;

static inline small_net small_net_open(int hidden, int steps, int batch)
{
    small_net s = {0};
    stpn_unit unit = stpn_unit_default("stpn_r", hidden);
    const stpn_head head = {"answer", OUT};
    const stpn_net_desc desc = {.inputs = I, .units = &unit, .unit_count = 1, .heads = &head, .head_count = 1};
    assert_int_equal(stpn_net_create(&s.net, &desc, NULL), STPN_OK);
    stpn_net_init(s.net, 1);
    assert_int_equal(stpn_state_create(&s.state, s.net, batch, NULL), STPN_OK);
    assert_int_equal(stpn_tape_create(&s.tape, s.net, steps, batch, 1, NULL), STPN_OK);
    assert_int_equal(stpn_adam_create(&s.adam, s.net, 0.1, 0.9, 0.999, 1e-8, NULL), STPN_OK);
    s.grad = stpn_block_create(s.net);
    assert_non_null(s.grad);
    return s;
}

static inline void small_net_close(small_net *s)
{
    stpn_block_free(s->grad);
    stpn_adam_free(s->adam);
    stpn_tape_free(s->tape);
    stpn_state_free(s->state);
    stpn_net_free(s->net);
}

#endif
