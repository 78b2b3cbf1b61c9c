/* Of every frame but the first, the smallest rectangle with all that changed is kept, and in it what did not change is
 * transparent, which packs well. The file grows in memory, so that it is written whole or not at all. */
#include "cli/gif.h"

#include "base/error.h"

#if STPN_HAVE_GIF

#include "base/buffer.h"
#include "base/file.h"
#include "base/memory.h"

#include <gif_lib.h>
#include <string.h>

struct gif {
    int width, height, frames;
    GifFileType *file;
    buffer bytes;
    unsigned char *shown; // (height, width) after the latest frame
    unsigned char *row;   // (width) for giflib, which may change it
};

stpn_status gif_check(stpn_error *error)
{
    (void)error;
    return STPN_OK;
}

/* The only thing that fails in memory is an allocation. */
static stpn_status out_of_memory(stpn_error *error)
{
    return error_memory(error, "the animation");
}

static int write_bytes(GifFileType *file, const GifByteType *bytes, int count)
{
    gif *g = file->UserData;
    return buffer_append(&g->bytes, (const char *)bytes, (size_t)count) ? count : 0;
}

/* An animation that starts anew when it has ended. */
static int put_loop(GifFileType *file)
{
    static const unsigned char forever[] = {1, 0, 0};
    return EGifPutExtensionLeader(file, APPLICATION_EXT_FUNC_CODE) == GIF_OK &&
           EGifPutExtensionBlock(file, 11, "NETSCAPE2.0") == GIF_OK &&
           EGifPutExtensionBlock(file, sizeof forever, forever) == GIF_OK && EGifPutExtensionTrailer(file) == GIF_OK;
}

static int put_head(gif *g, const gif_colour palette[GIF_COLOURS])
{
    GifColorType colours[GIF_COLOURS];
    for (int i = 0; i < GIF_COLOURS; i++)
        colours[i] = (GifColorType){palette[i].red, palette[i].green, palette[i].blue};
    ColorMapObject *map = GifMakeMapObject(GIF_COLOURS, colours);
    int done = map && EGifPutScreenDesc(g->file, g->width, g->height, map->BitsPerPixel, 1, map) == GIF_OK &&
               put_loop(g->file);
    GifFreeMapObject(map);
    return done;
}

stpn_status gif_create(gif **out, int width, int height, const gif_colour palette[GIF_COLOURS], stpn_error *error)
{
    *out = NULL;
    if (width < 1 || height < 1 || width > GIF_SIDE_MOST || height > GIF_SIDE_MOST)
        return error_set(error, STPN_ERROR_INPUT, "a picture of %d x %d pixels, expected at most %d x %d", width,
                         height, GIF_SIDE_MOST, GIF_SIDE_MOST);
    gif *g = memory_zeroed(1, sizeof *g);
    if (!g) return out_of_memory(error);
    g->width = width;
    g->height = height;
    g->shown = memory_zeroed((size_t)height, (size_t)width);
    g->row = memory_zeroed((size_t)width, 1);
    int code;
    g->file = g->shown && g->row ? EGifOpen(g, write_bytes, &code) : NULL;
    if (g->file) EGifSetGifVersion(g->file, true);
    if (!g->file || !put_head(g, palette)) {
        gif_free(g);
        return out_of_memory(error);
    }
    *out = g;
    return STPN_OK;
}

static int close_file(gif *g)
{
    int code, done = !g->file || EGifCloseFile(g->file, &code) == GIF_OK;
    g->file = NULL;
    return done;
}

void gif_free(gif *g)
{
    if (!g) return;
    (void)close_file(g);
    buffer_free(&g->bytes);
    memory_free(g->shown);
    memory_free(g->row);
    memory_free(g);
}

typedef struct rectangle {
    int left, top, right, bottom; // the last two are the first outside
} rectangle;

static rectangle changed_part(const gif *g, const unsigned char *pixels)
{
    rectangle r = {g->width, g->height, 0, 0};
    for (int y = 0; y < g->height; y++)
        for (int x = 0; x < g->width; x++) {
            size_t at = (size_t)y * (size_t)g->width + (size_t)x;
            if (pixels[at] == g->shown[at]) continue;
            if (x < r.left) r.left = x;
            if (y < r.top) r.top = y;
            if (x >= r.right) r.right = x + 1;
            r.bottom = y + 1;
        }
    return r.right ? r : (rectangle){0, 0, 1, 1};
}

static int put_control(gif *g, int hundredths)
{
    GifByteType bytes[4];
    const GraphicsControlBlock control = {.DisposalMode = DISPOSE_DO_NOT,
                                          .DelayTime = hundredths,
                                          .TransparentColor = g->frames ? 0 : NO_TRANSPARENT_COLOR};
    return EGifPutExtension(g->file, GRAPHICS_EXT_FUNC_CODE, (int)EGifGCBToExtension(&control, bytes), bytes) == GIF_OK;
}

stpn_status gif_add(gif *g, const unsigned char *pixels, int hundredths, stpn_error *error)
{
    rectangle r = g->frames ? changed_part(g, pixels) : (rectangle){0, 0, g->width, g->height};
    int width = r.right - r.left;
    int done = put_control(g, hundredths) &&
               EGifPutImageDesc(g->file, r.left, r.top, width, r.bottom - r.top, false, NULL) == GIF_OK;
    for (int y = r.top; y < r.bottom && done; y++) {
        size_t at = (size_t)y * (size_t)g->width + (size_t)r.left;
        for (size_t x = 0; x < (size_t)width; x++) {
            int same = g->frames && pixels[at + x] == g->shown[at + x];
            g->row[x] = same ? 0 : pixels[at + x];
            g->shown[at + x] = pixels[at + x];
        }
        done = EGifPutLine(g->file, g->row, width) == GIF_OK;
    }
    g->frames++;
    return done ? STPN_OK : out_of_memory(error);
}

stpn_status gif_save(gif *g, const char *path, stpn_error *error)
{
    if (!close_file(g)) return out_of_memory(error);
    const file_part part = {g->bytes.data, g->bytes.size};
    return file_replace(path, &part, 1, error);
}

#else

static stpn_status missing(stpn_error *error)
{
    return error_set(error, STPN_ERROR_INPUT,
                     "this build of stpn writes no GIF: install libgif-dev (giflib) and build it again");
}

stpn_status gif_check(stpn_error *error)
{
    return missing(error);
}

stpn_status gif_create(gif **out, int width, int height, const gif_colour palette[GIF_COLOURS], stpn_error *error)
{
    (void)width, (void)height, (void)palette;
    *out = NULL;
    return missing(error);
}

void gif_free(gif *g)
{
    (void)g;
}

stpn_status gif_add(gif *g, const unsigned char *pixels, int hundredths, stpn_error *error)
{
    (void)g, (void)pixels, (void)hundredths;
    return missing(error);
}

stpn_status gif_save(gif *g, const char *path, stpn_error *error)
{
    (void)g, (void)path;
    return missing(error);
}

#endif
