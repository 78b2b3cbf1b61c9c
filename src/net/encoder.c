#include "net/encoder.h"

#include "base/error.h"
#include "base/memory.h"

#include <math.h>
#include <string.h>

/* Filters come in whole panels of either type, so that every pixel is aligned. */
enum { FILTERS_EACH = 16, FILTERS_MOST = 1024, LAYERS_MOST = 16, SIDE_MOST = 1 << 14 };

/* ------------------------------------------------------------------------------------------------------------- plan */

static stpn_status check_layer(const stpn_conv *c, int index, int height, int width, stpn_error *error)
{
    int least = height < width ? height : width;
    if (c->filters < FILTERS_EACH || c->filters > FILTERS_MOST || c->filters % FILTERS_EACH)
        return error_set(error, STPN_ERROR_INPUT, "encoder[%d].filters is %d, expected a multiple of %d up to %d",
                         index, c->filters, (int)FILTERS_EACH, (int)FILTERS_MOST);
    if (c->size < 1 || c->size > least)
        return error_set(error, STPN_ERROR_INPUT,
                         "encoder[%d].size is %d, expected 1 to %d, the image's least side there", index, c->size,
                         least);
    if (c->stride < 1 || c->stride > least)
        return error_set(error, STPN_ERROR_INPUT, "encoder[%d].stride is %d, expected 1 to %d", index, c->stride,
                         least);
    return STPN_OK;
}

stpn_status encoder_check(const stpn_net_desc *desc, int *features, stpn_error *error)
{
    int height = desc->height, width = desc->width, channels = desc->channels;
    *features = desc->inputs;
    if (desc->encoder_count == 0 && (desc->offset != 0 || desc->scale != 0))
        return error_set(error, STPN_ERROR_INPUT,
                         "offset and scale are %g and %g, expected 0 without an encoder, for whose images they are",
                         desc->offset, desc->scale);
    if (desc->encoder_count == 0) return STPN_OK;
    if (desc->encoder_count < 0 || desc->encoder_count > LAYERS_MOST)
        return error_set(error, STPN_ERROR_INPUT, "encoder has %d layers, expected 0 to %d", desc->encoder_count,
                         (int)LAYERS_MOST);
    stpn_status status = error_given(error, {desc->encoder, "encoder"});
    if (status) return status;
    int valid = height > 0 && height <= SIDE_MOST && width > 0 && width <= SIDE_MOST && channels > 0 &&
                channels <= FILTERS_MOST;
    if (!valid || (int64_t)height * width * channels != desc->inputs)
        return error_set(error, STPN_ERROR_INPUT, "an image of %d x %d with %d channels is no input of %d values",
                         height, width, channels, desc->inputs);
    if (!isfinite(desc->offset) || !isfinite(desc->scale))
        return error_set(error, STPN_ERROR_INPUT, "offset and scale are %g and %g, expected numbers", desc->offset,
                         desc->scale);
    for (int i = 0; i < desc->encoder_count; i++) {
        const stpn_conv *c = &desc->encoder[i];
        status = check_layer(c, i, height, width, error);
        if (status) return status;
        height = (height - c->size) / c->stride + 1;
        width = (width - c->size) / c->stride + 1;
        channels = c->filters;
        if ((int64_t)height * width * channels > UNIT_MAX_WIDTH)
            return error_set(error, STPN_ERROR_INPUT, "encoder[%d] makes more than %d values", i, (int)UNIT_MAX_WIDTH);
    }
    *features = height * width * channels;
    return STPN_OK;
}

stpn_status encoder_open(net_encoder *e, const stpn_net_desc *desc, stpn_error *error)
{
    int height = desc->height, width = desc->width, channels = desc->channels;
    *e = (net_encoder){.count = desc->encoder_count, .offset = desc->offset, .scale = desc->scale ? desc->scale : 1};
    if (e->count == 0) return STPN_OK;
    e->layers = memory_zeroed((size_t)e->count, sizeof *e->layers);
    if (!e->layers) return error_memory(error, "an encoder");
    for (int i = 0; i < e->count; i++) {
        const stpn_conv *c = &desc->encoder[i];
        int columns = c->size * c->size * channels;
        double bound = 1 / sqrt(columns);
        net_conv *layer = &e->layers[i];
        *layer = (net_conv){.filters = c->filters,
                            .size = c->size,
                            .stride = c->stride,
                            .width = width,
                            .channels = channels,
                            .out_height = (height - c->size) / c->stride + 1,
                            .out_width = (width - c->size) / c->stride + 1,
                            .in_values = (size_t)height * (size_t)width * (size_t)channels};
        layer->weight = (unit_tensor){.name = "weight",
                                      .layout = LAYOUT_MATRIX,
                                      .rows = c->filters,
                                      .columns = columns,
                                      .groups = 1,
                                      .low = -bound,
                                      .high = bound};
        layer->bias = layer->weight;
        layer->bias.name = "bias";
        layer->bias.layout = LAYOUT_VECTOR;
        layer->bias.columns = 1;
        height = layer->out_height;
        width = layer->out_width;
        channels = layer->filters;
        layer->values = (size_t)height * (size_t)width * (size_t)channels;
        e->kept += (layer->in_values + FILTERS_EACH - 1) / FILTERS_EACH * FILTERS_EACH;
    }
    return STPN_OK;
}

void encoder_close(net_encoder *e)
{
    memory_free(e->layers);
    *e = (net_encoder){0};
}

/* Values from the start of what a layer takes to what the next one takes. */
static size_t kept_values(const net_conv *c)
{
    return (c->in_values + FILTERS_EACH - 1) / FILTERS_EACH * FILTERS_EACH;
}

/* ---------------------------------------------------------------------------------------------------------- windows */

/* Row `i` of every window, or of every `each`-th along a line from `first` on, which do not overlap. */
static row_list windows(const net_conv *c, const kernel_table *k, const void *image, int i, int first, int each)
{
    size_t pixel = (size_t)c->channels, line = (size_t)c->width * pixel, stride = (size_t)c->stride;
    int along = (c->out_width - first + each - 1) / each;
    return (row_list){.values = value_at(k, image, (size_t)i * line + (size_t)first * stride * pixel),
                      .rows = along * c->out_height,
                      .inner = along,
                      .outer_step = stride * line,
                      .inner_step = (size_t)each * stride * pixel};
}

/* The outputs of those. */
static row_list outputs(const net_conv *c, const kernel_table *k, const void *out, int first, int each)
{
    size_t filters = (size_t)c->filters;
    int along = (c->out_width - first + each - 1) / each;
    return (row_list){.values = value_at(k, out, (size_t)first * filters),
                      .rows = along * c->out_height,
                      .inner = along,
                      .outer_step = (size_t)c->out_width * filters,
                      .inner_step = (size_t)each * filters};
}

/* The weights of row `i` of a window, in a block of parameters or in a gradient. */
static panel_matrix weights(const net_conv *c, const kernel_table *k, const void *block, int i)
{
    size_t lanes = (size_t)k->lanes;
    int columns = c->size * c->channels;
    return (panel_matrix){.values = value_at(k, block, c->weight.offset + (size_t)i * (size_t)columns * lanes),
                          .panels = c->filters / k->lanes,
                          .columns = columns,
                          .panel_step = (size_t)c->weight.columns * lanes};
}

/* ---------------------------------------------------------------------------------------------------------- forward */

void encoder_forward(const net_encoder *e, const kernel_table *k, const void *parameters, stpn_input type,
                     const void *x, void *kept, void *features)
{
    k->convert(e->layers[0].in_values, type, x, kept);
    k->shift_scale(e->layers[0].in_values, kept, e->offset, e->scale);
    for (int l = 0; l < e->count; l++) {
        const net_conv *c = &e->layers[l];
        void *next = l + 1 < e->count ? value_at(k, kept, kept_values(c)) : features;
        const row_list out = outputs(c, k, next, 0, 1);
        for (int i = 0; i < c->size; i++) {
            const row_list in = windows(c, k, kept, i, 0, 1);
            const panel_matrix w = weights(c, k, parameters, i);
            k->product(&in, &w, i == 0 ? value_at(k, parameters, c->bias.offset) : NULL, &out);
        }
        k->relu_forward(c->values, next);
        kept = next;
    }
}

/* --------------------------------------------------------------------------------------------------------- backward */

static size_t transposed_values(const net_conv *c, const kernel_table *k)
{
    return row_values(k, c->weight.columns) * (size_t)c->filters;
}

size_t encoder_backward_bytes(const net_encoder *e, const kernel_table *k)
{
    size_t values = 0;
    for (int l = 1; l < e->count; l++) values += transposed_values(&e->layers[l], k) + kept_values(&e->layers[l]);
    return values * k->size;
}

void encoder_backward_open(const net_encoder *e, const kernel_table *k, const void *parameters, void *work)
{
    for (int l = 1; l < e->count; l++) {
        const net_conv *c = &e->layers[l];
        const panel_matrix all = {.values = value_at(k, parameters, c->weight.offset),
                                  .panels = c->filters / k->lanes,
                                  .columns = c->weight.columns,
                                  .panel_step = (size_t)c->weight.columns * (size_t)k->lanes};
        k->transpose(&all, work);
        work = value_at(k, work, transposed_values(c, k) + kept_values(c));
    }
}

/* The adjoint of what comes in, from that of what goes out: windows that overlap are added to one after the other. */
static void image_back(const net_conv *c, const kernel_table *k, const void *transposed, const void *dout, void *din)
{
    int each = (c->size + c->stride - 1) / c->stride, panels = c->size * c->channels / k->lanes;
    if (each > c->out_width) each = c->out_width;
    memset(din, 0, c->in_values * k->size);
    for (int i = 0; i < c->size; i++) {
        size_t at = (size_t)i * (size_t)panels * (size_t)c->filters * (size_t)k->lanes;
        const panel_matrix w = {.values = value_at(k, transposed, at),
                                .panels = panels,
                                .columns = c->filters,
                                .panel_step = (size_t)c->filters * (size_t)k->lanes};
        for (int first = 0; first < each; first++) {
            const row_list up = outputs(c, k, dout, first, each), down = windows(c, k, din, i, first, each);
            k->product(&up, &w, NULL, &down);
        }
    }
}

void encoder_backward(const net_encoder *e, const kernel_table *k, void *gradient, const void *kept,
                      const void *features, void *dfeatures, void *work)
{
    const void *out = features;
    void *dout = dfeatures;
    size_t from = e->kept, space = encoder_backward_bytes(e, k) / k->size;
    for (int l = e->count - 1; l >= 0; l--) {
        const net_conv *c = &e->layers[l];
        from -= kept_values(c);
        const void *in = value_at(k, kept, from);
        k->relu_backward(c->values, out, dout);
        const row_list up = outputs(c, k, dout, 0, 1);
        for (int i = 0; i < c->size; i++) {
            const row_list seen = windows(c, k, in, i, 0, 1);
            const panel_matrix dw = weights(c, k, gradient, i);
            k->product_gradient(&up, &seen, &dw, i == 0 ? value_at(k, gradient, c->bias.offset) : NULL);
        }
        if (l == 0) return;
        space -= kept_values(c);
        void *din = value_at(k, work, space);
        space -= transposed_values(c, k);
        image_back(c, k, value_at(k, work, space), dout, din);
        out = in;
        dout = din;
    }
}
