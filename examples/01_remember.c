/* Short-term-plasticity neurons learn to recall, after five steps of noise, the symbol that a sequence began with. */
#include <stdio.h>
#include <stdlib.h>
#include <stpn/stpn.h>
#include <string.h>

enum { CUES = 6, SYMBOLS = 10, STEPS = 6, BATCH = 64, NEURONS = 16, UPDATES = 600 };

static int32_t tokens[STEPS][BATCH], labels[BATCH];
static float y[STEPS][BATCH][NEURONS], dy[STEPS][BATCH][NEURONS], logits[BATCH][CUES], dlogits[BATCH][CUES];

static void draw_sequences(void)
{
    for (int b = 0; b < BATCH; b++) {
        for (int t = 1; t < STEPS; t++) tokens[t][b] = CUES + rand() % (SYMBOLS - CUES);
        tokens[0][b] = labels[b] = rand() % CUES;
    }
}

int main(void)
{
    stpn_unit layer = stpn_unit_default("stpn_r", NEURONS);
    stpn_head head = {"answer", CUES};
    stpn_net_desc desc = {
        .real = STPN_FLOAT, .inputs = SYMBOLS, .units = &layer, .unit_count = 1, .heads = &head, .head_count = 1};
    stpn_sequence sequence = {.steps = STEPS, .batch = BATCH, .type = STPN_INPUT_TOKEN, .x = tokens, .fresh = 1};
    stpn_net *net = NULL;
    stpn_state *state = NULL;
    stpn_tape *tape = NULL;
    stpn_adam *adam = NULL;
    stpn_error error = {""};
    stpn_status status = stpn_net_create(&net, &desc, &error);
    if (!status) status = stpn_state_create(&state, net, BATCH, &error);
    if (!status) status = stpn_tape_create(&tape, net, STEPS, BATCH, 1, &error);
    if (!status) status = stpn_adam_create(&adam, net, 0.01, 0.9, 0.999, 1e-8, &error);
    float *gradient = status ? NULL : stpn_block_create(net);
    if (gradient) stpn_net_init(net, 0);
    for (int update = 0; gradient && !status && update < UPDATES; update++) {
        draw_sequences();
        stpn_tape_rewind(tape);
        memset(gradient, 0, stpn_net_block_size(net) * sizeof *gradient);
        status = stpn_forward(net, state, &sequence, y, NULL, tape, NULL, &error);
        /* The last step answers, so the gradient enters there. */
        stpn_head_forward(net, 0, BATCH, y[STEPS - 1], logits);
        stpn_cross_entropy(net, BATCH, CUES, logits, labels, 1.0 / BATCH, NULL, dlogits);
        stpn_head_backward(net, 0, BATCH, y[STEPS - 1], dlogits, gradient, dy[STEPS - 1]);
        if (!status) status = stpn_backward(net, tape, dy, NULL, gradient, NULL, NULL, &error);
        if (!status) stpn_adam_update(adam, net, gradient);
    }
    if (!gradient || status) return fprintf(stderr, "%s\n", status ? error.message : "out of memory"), 1;

    /* New sequences, now streamed: one step at a time, without a tape. */
    int right = 0;
    draw_sequences();
    stpn_state_zero(state);
    for (int t = 0; t < STEPS; t++) {
        float x[BATCH][SYMBOLS] = {{0}};
        for (int b = 0; b < BATCH; b++) x[b][tokens[t][b]] = 1;
        stpn_step(net, state, x, y[t]);
    }
    stpn_head_forward(net, 0, BATCH, y[STEPS - 1], logits);
    for (int b = 0; b < BATCH; b++) {
        int answer = 0;
        for (int c = 1; c < CUES; c++) answer = logits[b][c] > logits[b][answer] ? c : answer;
        right += answer == labels[b];
    }
    printf("recalled %d of %d\n", right, BATCH);
    stpn_block_free(gradient);
    stpn_adam_free(adam);
    stpn_tape_free(tape);
    stpn_state_free(state);
    stpn_net_free(net);
    return right < BATCH * 9 / 10;
}
