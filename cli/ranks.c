#include "cli/ranks.h"

#include "cli/cli.h"

#include <stdlib.h>

static int number_of(const char *name, int otherwise)
{
    const char *text = getenv(name);
    char *end;
    long value = text ? strtol(text, &end, 10) : -1;
    return value >= 0 && value < 1 << 20 && end != text && !*end ? (int)value : otherwise;
}

/* Open MPI's mpirun; launchers that speak PMI, as MPICH's and Slurm's do; Slurm's with PMIx, whose own variables tell a rank
 * but no number of them (a batch script has SLURM_NTASKS too, but no PMIX_RANK). */
rank_place ranks_in_environment(void)
{
    static const struct {
        const char *given, *rank, *count;
    } launchers[] = {
        {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
        {"PMI_SIZE", "PMI_RANK", "PMI_SIZE"},
        {"PMIX_RANK", "SLURM_PROCID", "SLURM_NTASKS"},
    };
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        if (!getenv(launchers[i].given)) continue;
        rank_place place = {number_of(launchers[i].rank, 0), number_of(launchers[i].count, 1)};
        if (place.count > place.rank) return place;
    }
    return (rank_place){0, 1};
}

void ranks_count_anew(rank_link *l)
{
    l->sent = l->received = l->sends = l->receives = 0;
    l->seconds = 0;
}

#if STPN_HAVE_MPI

#include "base/machine.h"

#include <mpi.h>

enum { PIECE = 1 << 30, TAG = 1 };

/* Messages are in pieces that an int counts. */
static int hand_over(rank_link *l, void *data, size_t bytes, int other, int sends)
{
    double begin = machine_seconds();
    int failed = 0;
    for (size_t done = 0; done < bytes && !failed; done += PIECE) {
        int count = bytes - done < PIECE ? (int)(bytes - done) : PIECE, came = count;
        char *piece = (char *)data + done;
        MPI_Status status;
        if (sends) {
            failed = MPI_Send(piece, count, MPI_BYTE, other, TAG, MPI_COMM_WORLD) != MPI_SUCCESS;
        } else {
            failed = MPI_Recv(piece, count, MPI_BYTE, other, TAG, MPI_COMM_WORLD, &status) != MPI_SUCCESS ||
                     MPI_Get_count(&status, MPI_BYTE, &came) != MPI_SUCCESS || came != count;
        }
    }
    l->seconds += machine_seconds() - begin;
    return failed;
}

static int send_bytes(void *context, int to, const void *data, size_t bytes)
{
    rank_link *l = context;
    l->sent += (int64_t)bytes;
    l->sends++;
    return hand_over(l, (void *)(uintptr_t)data, bytes, to, 1);
}

static int receive_bytes(void *context, int from, void *data, size_t bytes)
{
    rank_link *l = context;
    l->received += (int64_t)bytes;
    l->receives++;
    return hand_over(l, data, bytes, from, 0);
}

int ranks_possible(void)
{
    return 1;
}

int ranks_open(rank_link *l)
{
    *l = (rank_link){.ranks = {.count = 1, .context = l, .send = send_bytes, .receive = receive_bytes}};
    /* Without a launcher MPI would start a daemon of its own. */
    if (!getenv("OMPI_COMM_WORLD_SIZE") && !getenv("PMI_SIZE") && !getenv("PMIX_RANK")) return EXIT_DONE;
    int threads;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &threads) != MPI_SUCCESS) {
        say("MPI cannot be started");
        return EXIT_SYSTEM_FAILED;
    }
    l->opened = 1;
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN); // they are told, by rank, in hand_over's callers
    MPI_Comm_rank(MPI_COMM_WORLD, &l->ranks.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &l->ranks.count);
    if (l->ranks.rank > 0) say_nothing();
    rank_place told = ranks_in_environment();
    if (told.count == 1 || told.count == l->ranks.count) return EXIT_DONE;
    if (told.rank == 0)
        say("%d processes were started together, of which MPI joins %d: start them with the mpirun of the MPI that "
            "stpn was built with",
            told.count, l->ranks.count);
    return EXIT_WRONG_USE;
}

void ranks_close(rank_link *l)
{
    if (!l->opened) return;
    /* Others may wait for a rank that has lost one of them. */
    if (l->ranks.lost) MPI_Abort(MPI_COMM_WORLD, EXIT_SYSTEM_FAILED);
    MPI_Finalize();
}

#else

int ranks_possible(void)
{
    return 0;
}

int ranks_open(rank_link *l)
{
    rank_place place = ranks_in_environment();
    *l = (rank_link){.ranks = {.count = 1}};
    if (place.count == 1) return EXIT_DONE;
    if (place.rank == 0)
        say("%d ranks are to train together, which this build of stpn cannot: install libopenmpi-dev (Debian), and "
            "build again",
            place.count);
    return EXIT_WRONG_USE;
}

void ranks_close(rank_link *l)
{
    (void)l;
}

#endif
