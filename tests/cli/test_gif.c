/* What a frame of a GIF holds: all of the first one, of another the smallest rectangle with what changed. That the frames
 * put together are what was drawn is seen in tests/cli/test_play.py, which reads them back. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "cli/gif.h"
#include "support/scratch.h"

enum { WIDTH = 7, HEIGHT = 5, FRAMES_MOST = 64 };

typedef struct part {
    int left, top, width, height, hundredths;
} part;

static gif *created(void)
{
    static const gif_colour palette[GIF_COLOURS] = {{0, 0, 0}, {255, 0, 0}, {0, 255, 0}};
    gif *g;
    stpn_error error;
    if (gif_create(&g, WIDTH, HEIGHT, palette, &error)) fail_msg("%s", error.message);
    return g;
}

static void add(gif *g, const unsigned char *pixels, int hundredths)
{
    stpn_error error;
    if (gif_add(g, pixels, hundredths, &error)) fail_msg("%s", error.message);
}

static int number(const unsigned char *bytes)
{
    return bytes[0] | bytes[1] << 8;
}

/* The rectangles of the frames, each behind a block that says how long it stands. */
static int parts_of(gif *g, part *parts)
{
    char path[SCRATCH_PATH];
    stpn_error error;
    size_t size;
    int count = 0;
    if (gif_save(g, scratch_path(path, "a.gif"), &error)) fail_msg("%s", error.message);
    gif_free(g);
    char *data = scratch_read(path, &size);
    const unsigned char *bytes = (const unsigned char *)data;
    for (size_t i = 0; i + 17 < size; i++) {
        const unsigned char *b = bytes + i;
        if (memcmp(b, "\x21\xF9\x04", 3) != 0 || b[7] != 0 || b[8] != 0x2C) continue;
        assert_true(count < FRAMES_MOST);
        parts[count++] = (part){number(b + 9), number(b + 11), number(b + 13), number(b + 15), number(b + 4)};
    }
    assert_int_equal(bytes[size - 1], ';');
    free(data);
    return count;
}

static void assert_part(const part *p, int left, int top, int width, int height)
{
    if (p->left != left || p->top != top || p->width != width || p->height != height)
        fail_msg("%d x %d at %d, %d; expected %d x %d at %d, %d", p->width, p->height, p->left, p->top, width, height,
                 left, top);
}

static void only_what_changed(void **state)
{
    (void)state;
    stpn_error error;
    if (gif_check(&error)) skip();
    part parts[FRAMES_MOST];
    unsigned char pixels[HEIGHT * WIDTH];
    gif *g = created();
    memset(pixels, 1, sizeof pixels);
    add(g, pixels, 9);
    for (int at = 0; at < HEIGHT * WIDTH; at++) {
        pixels[at] = 2;
        add(g, pixels, at);
    }
    pixels[1 * WIDTH + 4] = pixels[3 * WIDTH + 2] = 1;
    add(g, pixels, 300);
    assert_int_equal(parts_of(g, parts), HEIGHT * WIDTH + 2);
    assert_part(&parts[0], 0, 0, WIDTH, HEIGHT);
    for (int at = 0; at < HEIGHT * WIDTH; at++) {
        assert_part(&parts[at + 1], at % WIDTH, at / WIDTH, 1, 1);
        assert_int_equal(parts[at + 1].hundredths, at);
    }
    assert_part(&parts[HEIGHT * WIDTH + 1], 2, 1, 3, 3);
    assert_int_equal(parts[HEIGHT * WIDTH + 1].hundredths, 300);
}

static void a_still_frame_is_a_frame(void **state)
{
    (void)state;
    stpn_error error;
    if (gif_check(&error)) skip();
    part parts[FRAMES_MOST];
    unsigned char pixels[HEIGHT * WIDTH];
    gif *g = created();
    memset(pixels, 1, sizeof pixels);
    for (int i = 0; i < 3; i++) add(g, pixels, 5);
    assert_int_equal(parts_of(g, parts), 3);
}

static void sides_that_no_picture_has(void **state)
{
    (void)state;
    static const int sides[][2] = {{0, 3}, {3, 0}, {GIF_SIDE_MOST + 1, 3}, {3, GIF_SIDE_MOST + 1}};
    static const gif_colour palette[GIF_COLOURS];
    stpn_error error;
    gif *g;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        assert_int_equal(gif_create(&g, sides[i][0], sides[i][1], palette, &error), STPN_ERROR_INPUT);
        assert_null(g);
        assert_true(strlen(error.message) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_changed),
        cmocka_unit_test(a_still_frame_is_a_frame),
        cmocka_unit_test(sides_that_no_picture_has),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
