/* The matrix products of a training pass, by a kernel of ours and by OpenBLAS on one thread: first whether both agree with
 * plain loops in double, then how fast each is. Usage: bench_products [--json]; STPN_KERNEL names the kernel.
 *
 *     forward    out (rows, N) = a (rows, K) w^T      a step of a chunk is 16 rows, the inputs of a block of steps 128
 *     backward   out (rows, K) += d (rows, N) w       w transposed once per pass and chunk, which is not timed
 *     gradient   dw (N, K) += d^T (N, rows) a (rows, K)
 *
 * Times are processor time of this thread, so that other programs disturb little. */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/kernels.h"

#include <cblas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum product_kind { FORWARD, BACKWARD, GRADIENT } product_kind;

static const char *const kind_names[] = {"forward", "backward", "gradient"};

enum { ROUNDS = 9 };

static const double seconds_round = 0.02;

/* Operands of one product in both layouts: rows as OpenBLAS has them, panels as a kernel has them. */
typedef struct operands {
    product_kind kind;
    int rows, N, K;
    size_t Np, Kp;                 // N and K padded to whole panels
    float *a, *d, *w, *out;        // (rows, K), (rows, N), (N, K), result
    float *pa, *pd, *pw, *pt, *po; // (rows, Kp), (rows, Np), panels of w and of its transpose, result
    size_t out_count, po_count;
} operands;

static float *values(size_t count)
{
    float *v = memory_zeroed(count, sizeof *v);
    if (v) return v;
    fprintf(stderr, "out of memory\n");
    exit(3);
}

static size_t panel_place(size_t columns, size_t row, size_t column, size_t lanes)
{
    return (row / lanes * columns + column) * lanes + row % lanes;
}

static operands operands_open(product_kind kind, int rows, int N, int K, const kernel_table *k)
{
    size_t lanes = (size_t)k->lanes, R = (size_t)rows, n = (size_t)N, c = (size_t)K;
    operands o = {.kind = kind, .rows = rows, .N = N, .K = K};
    o.Np = (n + lanes - 1) / lanes * lanes;
    o.Kp = (c + lanes - 1) / lanes * lanes;
    o.out_count = kind == FORWARD ? R * n : kind == BACKWARD ? R * c : n * c;
    o.po_count = kind == FORWARD ? R * o.Np : kind == BACKWARD ? R * o.Kp : o.Np * c;
    o.a = values(R * c);
    o.d = values(R * n);
    o.w = values(n * c);
    o.out = values(o.out_count);
    o.pa = values(R * o.Kp);
    o.pd = values(R * o.Np);
    o.pw = values(o.Np * c);
    o.pt = values(o.Kp * o.Np);
    o.po = values(o.po_count);
    random_stream random = random_open(0, RANDOM_BENCH, 2);
    for (size_t r = 0; r < R; r++) {
        for (size_t i = 0; i < c; i++) o.pa[r * o.Kp + i] = o.a[r * c + i] = (float)random_normal(&random);
        for (size_t i = 0; i < n; i++) o.pd[r * o.Np + i] = o.d[r * n + i] = (float)random_normal(&random);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c; j++)
            o.pw[panel_place(c, i, j, lanes)] = o.w[i * c + j] = (float)random_normal(&random);
    panel_matrix w = {o.pw, (int)(o.Np / lanes), K, c * lanes};
    k->transpose(&w, o.pt);
    return o;
}

static void operands_close(operands *o)
{
    float *all[] = {o->a, o->d, o->w, o->out, o->pa, o->pd, o->pw, o->pt, o->po};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) memory_free(all[i]);
}

static void run_ours(const operands *o, const kernel_table *k)
{
    int lanes = k->lanes;
    row_list a = {o->pa, o->rows, 1, o->Kp, 0}, d = {o->pd, o->rows, 1, o->Np, 0};
    row_list out = {o->po, o->rows, 1, o->kind == FORWARD ? o->Np : o->Kp, 0};
    panel_matrix w = {o->pw, (int)o->Np / lanes, o->K, (size_t)o->K * (size_t)lanes};
    panel_matrix transposed = {o->pt, (int)o->Kp / lanes, (int)o->Np, o->Np * (size_t)lanes};
    if (o->kind == FORWARD) k->product(&a, &w, NULL, &out);
    if (o->kind == BACKWARD) k->product(&d, &transposed, NULL, &out);
    if (o->kind == GRADIENT) {
        panel_matrix dw = w;
        dw.values = o->po;
        k->product_gradient(&d, &a, &dw, NULL);
    }
}

static void run_openblas(const operands *o)
{
    int R = o->rows, N = o->N, K = o->K;
    if (o->kind == FORWARD)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, R, N, K, 1, o->a, K, o->w, K, 1, o->out, N);
    if (o->kind == BACKWARD)
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, R, K, N, 1, o->d, N, o->w, K, 1, o->out, K);
    if (o->kind == GRADIENT)
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, N, K, R, 1, o->d, N, o->a, K, 1, o->out, K);
}

/* The result's entry (i, j) by plain loops. */
static double expected(const operands *o, size_t i, size_t j)
{
    size_t R = (size_t)o->rows, N = (size_t)o->N, K = (size_t)o->K;
    double total = 0;
    if (o->kind == FORWARD)
        for (size_t c = 0; c < K; c++) total += (double)o->a[i * K + c] * (double)o->w[j * K + c];
    if (o->kind == BACKWARD)
        for (size_t n = 0; n < N; n++) total += (double)o->d[i * N + n] * (double)o->w[n * K + j];
    if (o->kind == GRADIENT)
        for (size_t r = 0; r < R; r++) total += (double)o->d[r * N + i] * (double)o->a[r * K + j];
    return total;
}

/* Largest errors of both after one product onto zeros, relative to the largest entry. */
static void compare(operands *o, const kernel_table *k, double *ours, double *theirs)
{
    size_t rows = (size_t)(o->kind == GRADIENT ? o->N : o->rows), columns = (size_t)(o->kind == FORWARD ? o->N : o->K);
    double largest = 0;
    *ours = *theirs = 0;
    memset(o->out, 0, o->out_count * sizeof *o->out);
    memset(o->po, 0, o->po_count * sizeof *o->po);
    run_ours(o, k);
    run_openblas(o);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) {
            double wanted = expected(o, i, j);
            size_t padded = o->kind == FORWARD ? o->Np : o->Kp;
            float own =
                o->kind == GRADIENT ? o->po[panel_place(columns, i, j, (size_t)k->lanes)] : o->po[i * padded + j];
            largest = fmax(largest, fabs(wanted));
            *ours = fmax(*ours, fabs((double)own - wanted));
            *theirs = fmax(*theirs, fabs((double)o->out[i * columns + j] - wanted));
        }
    *ours /= largest;
    *theirs /= largest;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Mean seconds of one product over `count`. */
static double time_product(const operands *o, const kernel_table *k, int ours, int count)
{
    double start = seconds();
    for (int i = 0; i < count; i++) {
        if (ours) run_ours(o, k);
        else run_openblas(o);
    }
    return (seconds() - start) / count;
}

static int compare_numbers(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Medians over rounds in which both take turns. The sums grow without being read: only whether they are finite would
 * matter to the time, and they are. */
static void measure(operands *o, const kernel_table *k, double *ours, double *theirs)
{
    double times[2][ROUNDS];
    for (int who = 0; who < 2; who++) {
        int count = 1;
        double once = time_product(o, k, who == 0, 1);
        while (once * count < seconds_round) count *= 2;
        for (int round = 0; round < ROUNDS; round++) times[who][round] = (double)count;
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int who = 0; who < 2; who++) times[who][round] = time_product(o, k, who == 0, (int)times[who][round]);
    qsort(times[0], ROUNDS, sizeof(double), compare_numbers);
    qsort(times[1], ROUNDS, sizeof(double), compare_numbers);
    *ours = times[0][ROUNDS / 2];
    *theirs = times[1][ROUNDS / 2];
}

static int report(product_kind kind, int rows, int N, int K, const kernel_table *k, int json, int first)
{
    operands o = operands_open(kind, rows, N, K, k);
    double error_ours, error_theirs, ours = 0, theirs = 0;
    compare(&o, k, &error_ours, &error_theirs);
    int right = error_ours <= 1e-5, theirs_right = error_theirs <= 1e-5;
    if (!right)
        fprintf(stderr, "%s %d x %d x %d of kernel %s is wrong: %.2g\n", kind_names[kind], rows, N, K, k->name,
                error_ours);
    if (!theirs_right)
        fprintf(stderr, "%s %d x %d x %d of OpenBLAS is wrong: %.2g\n", kind_names[kind], rows, N, K, error_theirs);
    if (right && theirs_right) {
        measure(&o, k, &ours, &theirs);
        double operations = 2e-9 * rows * N * K;
        if (json)
            printf("%s  {\"product\": \"%s\", \"rows\": %d, \"N\": %d, \"K\": %d, \"stpn_gflops\": %.2f, "
                   "\"openblas_gflops\": %.2f}",
                   first ? "" : ",\n", kind_names[kind], rows, N, K, operations / ours, operations / theirs);
        else
            printf("| %s | %d | %d | %d | %.1f | %.1f | %.2f |\n", kind_names[kind], rows, N, K, operations / ours,
                   operations / theirs, theirs / ours);
        fflush(stdout);
    }
    operands_close(&o);
    return right && theirs_right;
}

int main(int argc, char **argv)
{
    static const int widths[] = {9, 20, 47, 100, 128, 512};
    int json = argc == 2 && strcmp(argv[1], "--json") == 0, first = 1, right = 1;
    if (argc > 2 || (argc == 2 && !json)) {
        fprintf(stderr, "usage: bench_products [--json]\n");
        return 2;
    }
    const kernel_table *k;
    stpn_error error;
    if (kernel_choose(&k, STPN_FLOAT, &error)) {
        fprintf(stderr, "%s\n", error.message);
        return 2;
    }
    openblas_set_num_threads(1);
    if (json) printf("{\"kernel\": \"%s\", \"openblas\": \"%s\", \"rows\": [\n", k->name, openblas_get_config());
    else
        printf("kernel %s; %s, running %s; one thread\n\n"
               "| product | rows | N | K | stpn GFLOP/s | OpenBLAS GFLOP/s | stpn / OpenBLAS |\n"
               "| --- | --- | --- | --- | --- | --- | --- |\n",
               k->name, openblas_get_config(), openblas_get_corename());
    for (int kind = FORWARD; kind <= GRADIENT; kind++)
        for (size_t i = 0; i < sizeof widths / sizeof *widths; i++)
            for (int gates = 1; gates <= 4; gates += 3) {
                int H = widths[i];
                right &= report((product_kind)kind, kind == GRADIENT ? 128 : 16, gates * H, H, k, json, first);
                first = 0;
            }
    if (json) printf("\n]}\n");
    return right ? 0 : 1;
}
