/* stpn: short-term-plasticity neurons, fast and exact.
 *
 * The short-term-plasticity neuron (Garcia Rodriguez, Guo, Moraitis, "Short-Term Plasticity Neurons Learning to Learn
 * and Forget", ICML 2022) gives every synapse a slow weight W, trained, and a fast component F, a state of the sequence
 * that decays by a trained factor Lambda and grows by a trained rate Gamma times the activity of its two neurons.
 *
 * How it fits together
 *   stpn_net     what is constant while a sequence runs: the description and one block of parameters
 *   stpn_state   what a sequence changes: F, h of every unit, for B samples; the caller owns it
 *   stpn_tape    what a forward pass leaves for the backward pass: T (I + 3H) numbers a sample (4H for norm post) and
 *                F at every 8th to 64th step, never (T, B, H, K)
 *   stpn_pool    threads; NULL runs everything on the calling thread. Results have the same bits on any number of them
 *   stpn_env     copies of an environment; stpn_agent: a net that acts in one, and learns from what comes of it
 *
 * Conventions
 *   shapes       T steps, B samples, I inputs, H neurons, K presynaptic columns (I + H, or I for a feed-forward unit);
 *                arrays are row-major, sequences time-major (T, B, ...)
 *   real         float or double, chosen by stpn_net_desc.real; every `void *` of values below points to that type
 *   ownership    what *_create returns belongs to the caller until *_free (which takes NULL); nothing is kept of an
 *                argument after a call returns, except that a state, a tape and an adam must not outlive their net
 *   errors       every call that can fail returns a stpn_status and, where `error` is not NULL, writes one message: what
 *                went wrong, where, what was expected. The library never prints, exits or aborts. Where a call fails its
 *                outputs are unspecified, its inputs untouched. A pointer it needs that is NULL is an input error. Calls
 *                that return no status check no pointer and no count; where they are given a tensor or a head that there
 *                is not, or another net's state or adam, they leave everything as it was
 *   threads      calls that share only a const net may run at once; a state, tape, adam or pool serves one call at a time
 *   names        equations are those of docs/mathematics.md
 */
#ifndef STPN_STPN_H
#define STPN_STPN_H

#include <stddef.h>
#include <stdint.h>

#define STPN_VERSION_MAJOR 0
#define STPN_VERSION_MINOR 1
#define STPN_VERSION_PATCH 0
#define STPN_VERSION "0.1.0"

#if defined(__GNUC__)
#define STPN_API __attribute__((visibility("default")))
#else
#define STPN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ status and errors */

typedef enum stpn_status {
    STPN_OK = 0,
    STPN_ERROR_INPUT = 1,   /* an argument, a file to read (missing, no permission) or its content is wrong: mend it */
    STPN_ERROR_MEMORY = 2,  /* an allocation failed */
    STPN_ERROR_SYSTEM = 3,  /* the system refused: disk, permission to write, threads */
    STPN_ERROR_NUMERIC = 4, /* a loss or a gradient is not finite: of stpn_agent_update and stpn_run_train */
    STPN_STOPPED = 5        /* a run was asked to stop; it has saved itself and can be resumed */
} stpn_status;

typedef struct stpn_error {
    char message[1024]; /* one line, no newline at its end; empty after success */
} stpn_error;

/* The library's version, "MAJOR.MINOR.PATCH". */
STPN_API const char *stpn_version(void);

/* ---------------------------------------------------------------------------------------------------------- kernels */

typedef enum stpn_real { STPN_FLOAT = 0, STPN_DOUBLE = 1 } stpn_real;

/* The inner loops exist once per instruction set: "portable", "avx2", "avx512", "neon". A net takes the best one that
 * the processor runs; the environment variable STPN_KERNEL, read when a net is made, forces another by name.
 * Name of kernel `index` in order of preference, or NULL past the last: those this processor can run. */
STPN_API const char *stpn_kernel_name(int index);

/* ------------------------------------------------------------------------------------------------------------ units */

typedef enum stpn_norm { STPN_NORM_PRE, STPN_NORM_POST, STPN_NORM_OUTPUT, STPN_NORM_NONE } stpn_norm;
typedef enum stpn_plastic { STPN_PLASTIC_ALL, STPN_PLASTIC_INPUT, STPN_PLASTIC_HIDDEN } stpn_plastic;
typedef enum stpn_granularity {
    STPN_GRANULARITY_SYNAPSE,
    STPN_GRANULARITY_NEURON,
    STPN_GRANULARITY_SCALAR
} stpn_granularity;
typedef enum stpn_rule { STPN_RULE_HEBB, STPN_RULE_OJA } stpn_rule;
typedef enum stpn_decay { STPN_DECAY_AFTER, STPN_DECAY_PROMPT } stpn_decay;
typedef enum stpn_activation { STPN_ACTIVATION_TANH, STPN_ACTIVATION_SIGMOID } stpn_activation;
typedef enum stpn_presynaptic { STPN_PRESYNAPTIC_PREVIOUS, STPN_PRESYNAPTIC_CURRENT } stpn_presynaptic;
typedef enum stpn_trace { STPN_TRACE_CLIP, STPN_TRACE_SOFT, STPN_TRACE_ADD, STPN_TRACE_DECAY } stpn_trace;
typedef enum stpn_modulation { STPN_MODULATION_TANH, STPN_MODULATION_SIGMOID, STPN_MODULATION_LINEAR } stpn_modulation;
typedef enum stpn_start { STPN_START_UNIFORM, STPN_START_MICONI } stpn_start;

/* One layer. Start from stpn_unit_default and change what differs; a unit reads the options that `stpn help keys` lists
 * for it. Names, with x the input and h the output one step before:
 *
 *     stpn_r        the STP neuron, recurrent: z = [x ; h], K = I + H. Per neuron j
 *                   G = W + F,  n = ||G_j|| + 1e-16,  h_j = activation(G_j . z / n + b_j),  F' = Lambda F / n + Gamma z h_j
 *     stpn_f        the same, feed-forward: z = x, K = I
 *     rnn           h' = tanh(W [x;h] + b)
 *     lstm, gru     as in PyTorch (an LSTM with one bias vector)
 *     mlp           h' = tanh(W x + b), no state
 *     fast_weights  Ba et al. 2016: A' = lambda A + eta h h^T, then inner steps h^{s+1} = tanh(LN(W [x;h] + b + A' h^s))
 *     plastic       Miconi et al. 2018: h' = tanh(Wi x + bi + (w + alpha E) h), E' = trace(E, eta h' h^T)
 *     modplast      Miconi et al. 2019: eta becomes m = modulation(Wm h' + bm), one number per sample
 *     modul         the same, retroactive: E' = trace(E, m T), T' = (1 - eta) T + eta h' h^T
 *     hebbff        Tyulmankov et al. 2022: h' = sigmoid((W + A) x + b), A' = lambda A + eta h' x^T
 */
typedef struct stpn_unit {
    const char *name;             /* as above */
    int hidden;                   /* H, number of neurons */
                                  /* stpn_r, stpn_f: */
    stpn_norm norm;               /* pre: as above; post: F' divided by ||W + F'||; output: F as it is; none: no n */
    double clamp;                 /* bound of |F| after each update; 0: none */
    stpn_plastic plastic;         /* which columns carry F: all, the I inputs, the H recurrent ones */
    stpn_granularity granularity; /* Lambda and Gamma per synapse (H, K), per neuron (H), or one of each */
    int learn;                    /* 1: Lambda and Gamma are parameters; 0: held at the two numbers below */
    double lambda;                /* used where learn is 0; decay of A in fast_weights */
    double gamma;                 /* used where learn is 0 */
    stpn_rule rule;               /* hebb: z h; oja: h_j (z_k - sum_m h_m F_mk) */
    stpn_decay decay;             /* after: Lambda F~ + Gamma P; prompt: Lambda (F~ + Gamma P) */
    stpn_activation activation;   /* of the output */
    int layer_norm;               /* 1: layer norm before the activation (eps 1e-5), with gain and offset */
    int bias;                     /* 1: b is a parameter; 0: no b */
    stpn_presynaptic presynaptic; /* recurrent part of z in the update of F: h before the step, or h of the step */
                                  /* the others: */
    double eta;                   /* fast_weights: rate of A */
    int inner_steps;              /* fast_weights: S, 1 or more */
    stpn_trace trace;             /* plastic, modplast, modul: how E takes up its change */
    stpn_modulation modulation;   /* modplast, modul: of the one number m */
    stpn_start init;              /* rnn: initial values, U(+-1/sqrt(H)) or those of the Miconi units */
} stpn_unit;

/* The unit `name` with `hidden` neurons and every option at its default. An unknown name is reported when the net is
 * made. */
STPN_API stpn_unit stpn_unit_default(const char *name, int hidden);

/* Name of unit `index`, and of option `index` that unit `name` reads (a field of stpn_unit); NULL past the last, and where
 * there is no such unit. */
STPN_API const char *stpn_unit_name(int index);
STPN_API const char *stpn_unit_option(const char *name, int index);

/* A linear read-out of the last unit: `outputs` values a step. */
typedef struct stpn_head {
    const char *name; /* prefix of its parameters: NAME.weight (outputs, H), NAME.bias (outputs) */
    int outputs;
} stpn_head;

/* A layer of an encoder: `filters` convolutions of size x size pixels, without padding, with bias and ReLU. */
typedef struct stpn_conv {
    int filters, size, stride; /* filters: a multiple of 16 */
} stpn_conv;

/* ------------------------------------------------------------------------------------------------------- the network */

typedef struct stpn_net_desc {
    stpn_real real;         /* type of every value */
    int inputs;             /* I of the first unit; for tokens, the number of symbols */
    const stpn_unit *units; /* (unit_count), from the input to the output */
    int unit_count;
    const stpn_head *heads; /* (head_count), may be NULL where there are none */
    int head_count;
    /* An encoder, where inputs are images: what it makes of them (row by row, the filters of a pixel side by side) is the
     * input of the first unit. */
    const stpn_conv *encoder; /* (encoder_count) */
    int encoder_count;
    int height, width, channels; /* of an image (height, width, channels): their product is `inputs` */
    double offset, scale; /* a value v is taken as (v - offset) scale; scale 0: as 1. Without an encoder both are 0 */
} stpn_net_desc;

typedef struct stpn_net stpn_net;

/* Makes a network; its parameters are 0. The description is copied. */
STPN_API stpn_status stpn_net_create(stpn_net **net, const stpn_net_desc *desc, stpn_error *error);
STPN_API void stpn_net_free(stpn_net *net);

/* Draws the initial parameters of the paper: W, b ~ U(+-1/sqrt(H)), Lambda ~ U(0, 1), Gamma ~ U(+-0.001/sqrt(H)), with I
 * in place of H for stpn_f; read-outs U(+-1/sqrt(H)); the other units' in docs/mathematics.md. The same seed gives the
 * same values on every machine. */
STPN_API void stpn_net_init(stpn_net *net, uint64_t seed);

/* Name of the kernel in use. */
STPN_API const char *stpn_net_kernel(const stpn_net *net);

/* Parameters are one block of stpn_net_block_size values, aligned to 64 bytes. A gradient is another block of that size.
 * Inside a block neurons lie in groups for the vector units, with zeros between: treat it element by element (an
 * optimiser does), or read and write its tensors, row-major, by the two calls below. */
STPN_API size_t stpn_net_block_size(const stpn_net *net);
STPN_API void *stpn_net_parameters(stpn_net *net);
/* A new block of zeros, or NULL; free with stpn_block_free. */
STPN_API void *stpn_block_create(const stpn_net *net);
STPN_API void stpn_block_free(void *block);

typedef struct stpn_tensor {
    const char *name; /* "units.0.weight", "readout.bias", ...; lives as long as the net */
    int rank;         /* 1 or 2; 3 in a state */
    int shape[3];
    size_t count; /* product of shape */
} stpn_tensor;

/* Tensor `index` of the parameters; returns 0 past the last. */
STPN_API int stpn_net_tensor(const stpn_net *net, int index, stpn_tensor *tensor);
/* Number of trained parameters: the sum of the tensors' counts. */
STPN_API size_t stpn_net_parameter_count(const stpn_net *net);
/* Copies tensor `index` out of, or into, a block; `values` is row-major of the net's real type. */
STPN_API void stpn_block_get(const stpn_net *net, const void *block, int index, void *values);
STPN_API void stpn_block_set(const stpn_net *net, void *block, int index, const void *values);

/* Parameters to and from a safetensors file, by name. Saving replaces the file atomically; loading checks names, shapes
 * and types (F32 or F64), and that the file's units, where it tells of them, have the net's options; it changes nothing where
 * one is wrong. A value that is not finite is an input error of both. */
STPN_API stpn_status stpn_net_save(const stpn_net *net, const char *path, stpn_error *error);
STPN_API stpn_status stpn_net_load(stpn_net *net, const char *path, stpn_error *error);

/* ---------------------------------------------------------------------------------------------------------- threads */

typedef struct stpn_pool stpn_pool;
/* `threads` in 1 to 256; 0: one per processor. The calling thread is one of them. Safe across fork: in a child the pool
 * starts its threads anew. */
STPN_API stpn_status stpn_pool_create(stpn_pool **pool, int threads, stpn_error *error);
STPN_API void stpn_pool_free(stpn_pool *pool);
STPN_API int stpn_pool_threads(const stpn_pool *pool);
/* Samples of a batch that are computed together, by one thread (a chunk): 16, 8 in a batch of less than 64, 4 in one of less
 * than 32, the last chunk maybe fewer. */
STPN_API int stpn_chunk_size(int batch);

/* ------------------------------------------------------------------------------------------------------------ state */

typedef struct stpn_state stpn_state;
/* State of `batch` samples, all zero: the start of a sequence. */
STPN_API stpn_status stpn_state_create(stpn_state **state, const stpn_net *net, int batch, stpn_error *error);
STPN_API void stpn_state_free(stpn_state *state);
STPN_API void stpn_state_zero(stpn_state *state);
STPN_API void stpn_state_copy(stpn_state *to, const stpn_state *from); /* same net, same batch */
/* Tensor `index`: "units.0.h" (B, H), "units.0.F" (B, H, K), ...; returns 0 past the last. */
STPN_API int stpn_state_tensor(const stpn_state *state, int index, stpn_tensor *tensor);
STPN_API void stpn_state_get(const stpn_state *state, int index, void *values);
/* An F with a value other than 0 in a column without plasticity is an input error. */
STPN_API stpn_status stpn_state_set(stpn_state *state, int index, const void *values, stpn_error *error);

/* ----------------------------------------------------------------------------------------------- forward and backward */

typedef enum stpn_input {
    STPN_INPUT_FLOAT,  /* float   (T, B, I) */
    STPN_INPUT_DOUBLE, /* double  (T, B, I) */
    STPN_INPUT_BYTE,   /* uint8_t (T, B, I), taken as 0 to 255 */
    STPN_INPUT_TOKEN   /* int32_t (T, B), each in [0, I): one-hot without the zeros */
} stpn_input;

typedef struct stpn_sequence {
    int steps;              /* T, of this call */
    int batch;              /* B, width of every array; at most the state's batch */
    int first, last;        /* samples [first, last) are run; 0, 0: all */
    stpn_input type;        /* of x */
    const void *x;          /* inputs */
    const uint8_t *reset;   /* (T, B) or NULL: not 0 zeroes the sample's state before that step */
    const int32_t *lengths; /* (B) or NULL: steps in [0, T] that a sample has; afterwards its outputs and energy are 0,
                               nothing flows back, and its state stays */
    int fresh;              /* not 0: the samples start at zero, whatever the state holds */
    /* NULL, or for each tensor of the state where its (B, ...) values after the last step go, or NULL: as stpn_state_get has
       them, written while they are in a cache. */
    void *const *finals;
} stpn_sequence;

typedef struct stpn_tape stpn_tape;
/* Room for `steps` steps of `batch` samples, with work space for the backward pass on up to `threads` threads. */
STPN_API stpn_status stpn_tape_create(stpn_tape **tape, const stpn_net *net, int steps, int batch, int threads,
                                      stpn_error *error);
STPN_API void stpn_tape_free(stpn_tape *tape);
/* Forgets what was recorded. */
STPN_API void stpn_tape_rewind(stpn_tape *tape);
/* Steps recorded of sample `sample`. */
STPN_API int stpn_tape_steps(const stpn_tape *tape, int sample);

/* Runs T steps: outputs of the last unit to `y` (T, B, H), energy of all units to `energy` (T, B); either may be NULL.
 * The state is read as the start and left as the end. With a tape the steps are appended to it, in as many calls as you
 * like; between them the state must not be changed from outside, nor the parameters from the first on until the backward
 * pass: an input error where one of these calls has changed those of the units or the encoder, a wrong gradient where they
 * were written through stpn_net_parameters, which nobody sees. */
STPN_API stpn_status stpn_forward(const stpn_net *net, stpn_state *state, const stpn_sequence *sequence, void *y,
                                  void *energy, stpn_tape *tape, stpn_pool *pool, stpn_error *error);

/* One step of streaming inference: `x` (B, I) values of the net's real type, `y` (B, H). The same bits as stpn_forward
 * gives. It cannot fail, allocates nothing and takes no lock. */
STPN_API void stpn_step(const stpn_net *net, stpn_state *state, const void *x, void *y);

/* The exact gradient over everything recorded on the tape (docs/mathematics.md), at the parameters of its forward pass, which
 * the net must still have.
 *   dy      (T, B, H)  gradient with respect to y; T is the tape's longest recording, B its batch
 *   dstate  in: gradient with respect to the final state; out: with respect to the starting state. NULL: zero, and not
 *           wanted. A state made by stpn_state_create
 *   grad    block that the parameters' gradient is added to; read-outs are untouched
 *   dx      (T, B, I), written; NULL: not wanted, and not to be had through an encoder
 * The gradients of the batch's chunks are added in a fixed tree: the same bits on any pool. */
STPN_API stpn_status stpn_backward(const stpn_net *net, stpn_tape *tape, const void *dy, stpn_state *dstate, void *grad,
                                   void *dx, stpn_pool *pool, stpn_error *error);

/* ------------------------------------------------------------------------------------- read-outs, losses, optimiser */

/* out (rows, outputs) = y (rows, H) weight^T + bias of head `head`. */
STPN_API void stpn_head_forward(const stpn_net *net, int head, int rows, const void *y, void *out);
/* Adds the head's gradient to `grad` and writes dy (rows, H); either may be NULL. */
STPN_API void stpn_head_backward(const stpn_net *net, int head, int rows, const void *y, const void *dout, void *grad,
                                 void *dy);

/* Softmax cross-entropy: losses (rows) and dlogits (rows, classes) of loss = scale * sum of losses; either may be NULL.
 * A row whose label is not in [0, classes) has NaN for its loss and its gradient. */
STPN_API void stpn_cross_entropy(const stpn_net *net, int rows, int classes, const void *logits, const int32_t *labels,
                                 double scale, void *losses, void *dlogits);

/* Limits the gradient block in place: every value to [-value, value], then its Euclidean norm to `norm`; a limit that is 0,
 * negative or NaN is none. Returns the norm after the values were limited, before it was. A NaN in the gradient stays and
 * makes the norm NaN, and no value is then limited by it; infinite values become +-value, but with `norm` alone they become
 * NaN and all others 0. */
STPN_API double stpn_clip_gradient(const stpn_net *net, void *grad, double value, double norm);

typedef struct stpn_adam stpn_adam;
/* Adam (Kingma and Ba 2015) with bias correction, eps outside the root: at least FLT_MIN, of a net of doubles DBL_MIN, so
 * that no 0 / 0 arises. */
STPN_API stpn_status stpn_adam_create(stpn_adam **adam, const stpn_net *net, double learning_rate, double beta1,
                                      double beta2, double epsilon, stpn_error *error);
STPN_API void stpn_adam_free(stpn_adam *adam);
/* Before any update: another learning rate, 0 or more; and AdamW (Loshchilov and Hutter 2019), where every update also
 * takes learning_rate * weight_decay of each parameter away (0 at first: Adam). */
STPN_API stpn_status stpn_adam_set_learning_rate(stpn_adam *adam, double learning_rate, stpn_error *error);
STPN_API stpn_status stpn_adam_set_weight_decay(stpn_adam *adam, double weight_decay, stpn_error *error);
/* One update of the net's parameters from `grad`. */
STPN_API void stpn_adam_update(stpn_adam *adam, stpn_net *net, const void *grad);

/* ----------------------------------------------------------------------------------------------------- environments */

/* Tasks that answer actions: B copies that step together, and agents that learn in them. A program's own environment takes
 * the place of stpn_env as it likes: an agent is told what is seen and what came of its actions, and asks for nothing. */

/* How the episode of a copy ended; 0: it goes on. Both at once is a termination. */
enum {
    STPN_TERMINATED = 1, /* by itself: nothing more could have come */
    STPN_TRUNCATED = 2,  /* it was only cut off */
    STPN_SKIPPED = 4     /* told to an agent: there was no step, as where an environment only began its next episode */
};

typedef struct stpn_env_shape {
    int observations; /* I, values of an observation: float (B, I), or with `bytes` uint8_t (B, I) */
    int bytes;        /* 1: pixels of an image */
    int actions;      /* number of discrete actions, int32_t (B) from 0 on; or 0, and */
    int continuous;   /* A, values of an action, float (B, A), cut to the environment's bounds */
    int steps;        /* T of every episode; 0: it may have any length */
} stpn_env_shape;

typedef struct stpn_env stpn_env;
/* `batch` copies of the environment that `task`, a JSON object, describes: the key `task` of an experiment file
 * (docs/experiments.md). A copy's course depends on the seed, its number and its actions alone, and is that of the
 * training of `stpn train` with this seed. */
STPN_API stpn_status stpn_env_create(stpn_env **env, const char *task, int batch, uint64_t seed, stpn_error *error);
STPN_API void stpn_env_free(stpn_env *env);
STPN_API void stpn_env_describe(const stpn_env *env, stpn_env_shape *shape);
/* What value `index` of a continuous action is cut to; may be infinite. */
STPN_API void stpn_env_bounds(const stpn_env *env, int index, float *low, float *high);
/* The next episode begins of copies [first, last): before the first step, and where an episode has ended. Arrays are those of
 * all copies here and in a step; the rows of the range are used. Copies of `pong` start, and step, in whole chunks
 * (stpn_chunk_size). */
STPN_API stpn_status stpn_env_reset(stpn_env *env, int first, int last, void *observations, stpn_error *error);
/* One step of copies [first, last): observations, `rewards` (B), `ends` (B). Where an episode ends the observation is its last
 * one; its copy stays there, at no reward, until it is reset; one of `gym` or `pong` is an input error in a step until then. */
STPN_API stpn_status stpn_env_step(stpn_env *env, int first, int last, const void *actions, void *observations,
                                   float *rewards, uint8_t *ends, stpn_error *error);
/* A copy as lines of text, cut to `size` bytes with the zero byte; returns the length of all of it, as snprintf does; 0
 * where there is nothing to see. */
STPN_API size_t stpn_env_draw(const stpn_env *env, int copy, char *text, size_t size);

/* ----------------------------------------------------------------------------------------------------------- agents */

typedef enum stpn_choice {
    STPN_CHOICE_SAMPLE, /* drawn from the policy */
    STPN_CHOICE_GREEDY, /* the most probable action, or the mean */
    STPN_CHOICE_GIVEN   /* taken from `actions`, as the caller wrote them */
} stpn_choice;

/* A network with a policy and a value, and its learner, A2C or PPO. The caller owns the loop:
 *
 *     for every update:
 *         for every step of its rollout:  stpn_agent_act, step the environment, stpn_agent_record
 *         stpn_agent_update
 */
typedef struct stpn_agent stpn_agent;
/* `experiment` is the text of an experiment file (docs/experiments.md): `units` and `encoder` are the network, `train`
 * has method (a2c, ppo), batch (B), rollout (T, 1 or more) and the rest, and `task` says the shape of what is seen and done:
 * {"name": "gym", "id": "mine", "observations": 4, "actions": 2} of an environment of one's own, or "continuous": A in place
 * of actions. `threads` as of stpn_pool_create. */
STPN_API stpn_status stpn_agent_create(stpn_agent **agent, const char *experiment, int threads, stpn_error *error);
/* The agent that stpn_agent_save, or a run of `stpn train` (last.safetensors), has saved, which goes on to the same bits on
 * the same kernel. */
STPN_API stpn_status stpn_agent_load(stpn_agent **agent, const char *path, int threads, stpn_error *error);
/* Another `batch` copies, that act with the network of `agent` as it is and as it becomes, and do not learn. Takes act, record
 * and restart; must not outlive the agent, nor be at work while that updates. */
STPN_API stpn_status stpn_agent_create_actor(stpn_agent **actor, const stpn_agent *agent, int batch, int threads,
                                             stpn_error *error);
STPN_API void stpn_agent_free(stpn_agent *agent);
/* Its network; and its experiment with every default filled in. Both live as long as the agent. */
STPN_API stpn_net *stpn_agent_net(stpn_agent *agent);
STPN_API const char *stpn_agent_experiment(const stpn_agent *agent);

/* An action for every copy, int32_t (B) or float (B, A), from `observations` (B, I) of float (bytes where the task has
 * images). Where an episode has ended the next one begins, from a state of zeros. */
STPN_API stpn_status stpn_agent_act(stpn_agent *agent, const void *observations, stpn_choice choice, void *actions,
                                    stpn_error *error);
/* What came of it: `rewards` (B), `ends` (B) or NULL: none. Where an episode was truncated and `last_observations` (B, I) is
 * given, the value of the copy's row stands for the rewards that would have come; NULL: nothing does. Of a step that was
 * STPN_SKIPPED nothing is learned. */
STPN_API stpn_status stpn_agent_record(stpn_agent *agent, const float *rewards, const uint8_t *ends,
                                       const void *last_observations, stpn_error *error);
/* One update from what was recorded since the one before, up to T steps. `next_observations` (B, I): what the copies see now,
 * whose value stands for what is to come where an episode goes on; NULL: nothing is to come. STPN_ERROR_NUMERIC where a
 * loss or a gradient is not finite: the rollout is forgotten, the network as before. */
STPN_API stpn_status stpn_agent_update(stpn_agent *agent, const void *next_observations, stpn_error *error);
/* Statistic `index` of the latest update; NaN: none; of an actor, up to now. Names are those of metrics.csv
 * (docs/file-formats.md). Returns 0 past the last. */
STPN_API int stpn_agent_statistic(const stpn_agent *agent, int index, const char **name, double *value);
/* All copies begin new episodes, from states of zeros. Steps that no update has seen are forgotten. */
STPN_API void stpn_agent_restart(stpn_agent *agent);
/* Everything, as last.safetensors of a run, atomically. An input error where steps are recorded that no update has seen. */
STPN_API stpn_status stpn_agent_save(const stpn_agent *agent, const char *path, stpn_error *error);

/* ---------------------------------------------------------------------------------------------------- whole training runs */

/* What a run tells while it goes. */
typedef struct stpn_progress {
    int epoch, epochs;             /* 1-based epoch under way */
    int64_t updates_done, updates; /* of this epoch */
    double loss;                   /* mean over this epoch so far */
    double accuracy; /* validation accuracy of the latest evaluation, NaN before the first, or where there is none */
    double sequences_per_second;
    double seconds_left;
    int epoch_ended;        /* 1 on the report after an epoch's evaluation */
    double validation_loss; /* of the latest evaluation, NaN before the first */
    /* In an environment an "epoch" is an iteration, an update its only one; loss and reward (mean of an episode) are means
     * since the latest row of metrics, which epoch_ended tells, and the rate is one of iterations. */
    int environment; /* 1 there, else 0 */
    double reward;
} stpn_progress;

/* Where the time of a run went. Of each thread, the parts' seconds add up to the time the run took (docs/performance.md
 * says what the parts are). */
typedef struct stpn_profile_part {
    const char *name; /* "forward" */
    double caller;    /* seconds of the thread that calls stpn_run_train */
    double other;     /* mean over the threads that help it; 0 where there are none */
} stpn_profile_part;

typedef struct stpn_profile {
    int threads, part_count;
    const stpn_profile_part *parts; /* (part_count); gone once the callback returns */
    int64_t updates;  /* of the parameters from a data set, or iterations in an environment, that were made */
    double elsewhere; /* seconds that a worker's environment was at work in its process meanwhile; or 0 */
} stpn_profile;

/* Processes that train one run together, each of which calls stpn_run_train with its own rank: they share the chunks
 * that a batch is cut into (stpn_chunk_size), and what is computed has the same bits for any number of them. Rank 0 alone
 * writes files, and tests the trained network; all read the experiment, its data and the checkpoint. The two functions hand
 * bytes over in order, wait until that is done, and return 0, or another number where a rank cannot be reached; they are
 * called by the thread that called stpn_run_train. Where that has returned with `lost` set, others may be waiting for this
 * rank: the caller ends the connection, so that their functions fail too. */
typedef struct stpn_ranks {
    int rank, count; /* 0 <= rank < count */
    void *context;
    int (*send)(void *context, int to, const void *data, size_t bytes);
    int (*receive)(void *context, int from, void *data, size_t bytes);
    int lost; /* 0 at first; 1, by the library: one could not be reached or is of another version; nothing more is handed over */
} stpn_ranks;

typedef struct stpn_run_options {
    const char *file;       /* experiment file */
    const char *const *set; /* (set_count) "key=value" */
    int set_count;
    int has_seed; /* 1: `seed` replaces the file's */
    uint64_t seed;
    const char *out;   /* folder of the run; NULL: runs/NAME-sSEED */
    int resume;        /* 1: go on from last.safetensors where there is one */
    int any_kernel;    /* 1: resume although another kernel wrote the checkpoint (the bits will differ) */
    int threads;       /* 0: one per processor */
    stpn_ranks *ranks; /* of this process; NULL: it trains alone */
    const volatile int
        *stop; /* not 0, in any rank: finish the update under way, save, return STPN_STOPPED. May be NULL */
    void (*progress)(void *context, const stpn_progress *progress); /* may be NULL */
    void *context;
    /* Called once, after a run that ended or was stopped; not where a finished one is resumed. NULL: no clock is read
     * for it. What is computed is the same either way. */
    void (*profile)(void *context, const stpn_profile *profile);
} stpn_run_options;

/* Trains an experiment (docs/experiments.md) and leaves its run folder (docs/file-formats.md). `folder` (size
 * `folder_size`, may be NULL) receives the folder's name. A finished run that is resumed is left as it is. */
STPN_API stpn_status stpn_run_train(const stpn_run_options *options, char *folder, size_t folder_size,
                                    stpn_error *error);

#ifdef __cplusplus
}
#endif
#endif
