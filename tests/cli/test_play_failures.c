/* Every allocation of a walk and of its animation made to fail in turn, and a disk that is full: an error, nothing left
 * allocated, and the file that stood there stays. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>
#include <errno.h>

#include "cli/gif.h"
#include "cli/play_picture.h"
#include "support/lost.h"

static const char experiment_text[] =
    "{\"name\": \"small\", \"task\": {\"name\": \"maze\", \"size\": 5, \"steps\": 3},"
    " \"units\": [{\"name\": \"stpn_r\", \"hidden\": 5}], \"train\": {\"method\": \"a2c\", \"batch\": 1}}";

static run opened;
static char path[SCRATCH_PATH];

static int open_run(void **state)
{
    experiment e;
    stpn_error error;
    if (scratch_make(state)) return 1;
    scratch_path(path, "walk.gif");
    if (experiment_parse(&e, "small", experiment_text, sizeof experiment_text - 1, NULL, 0, NULL, &error) ||
        run_open(&opened, &e, 1, NULL, &error))
        fail_msg("%s", error.message);
    return 0;
}

static int close_run(void **state)
{
    failing_reset();
    run_close(&opened);
    return scratch_remove(state);
}

static stpn_status animate(stpn_error *error)
{
    walk w = {0};
    picture p = {0};
    gif *g = NULL;
    gif_colour palette[GIF_COLOURS];
    picture_palette(palette);
    stpn_status status = walk_open(&w, &opened, 1, 0, error);
    if (!status) status = picture_open(&p, &w, 0.1, error);
    if (!status) status = gif_create(&g, p.canvas.width, p.canvas.height, palette, error);
    for (int t = 0; t < 4 && !status; t++) {
        picture_draw(&p, &w);
        status = gif_add(g, p.canvas.pixels, 10, error);
        if (!status) status = walk_step(&w, error);
    }
    if (!status) status = gif_save(g, path, error);
    gif_free(g);
    picture_close(&p);
    walk_close(&w);
    return status;
}

static void nothing_is_lost(void **state)
{
    (void)state;
    stpn_error error;
    size_t size;
    if (gif_check(&error)) skip();
    failing_reset();
    assert_int_equal(animate(&error), STPN_OK);
    long count = failing_allocations();
    char *before = scratch_read(path, &size);
    failing_reset();
    long live = failing_live();
    for (long n = 1; n <= count; n++) {
        failing_set_allocation(n);
        assert_nothing_lost(animate(&error), STPN_ERROR_MEMORY, &error, live, path, before, size);
    }
    for (long bytes = 0; bytes < (long)size; bytes += (long)size / 3) {
        failing_set_disk(bytes);
        assert_nothing_lost(animate(&error), STPN_ERROR_SYSTEM, &error, live, path, before, size);
        assert_non_null(strstr(error.message, "walk.gif"));
    }
    free(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, open_run, close_run);
}
