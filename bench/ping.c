/* Messages between ranks 0 and 1 to and fro: half the time of a round trip by message size, the least and the median of each
 * size's round trips. Further ranks wait. Usage: mpirun -n 2 bench_ping [SECONDS of each size, 0.5]; one JSON document. */
#include <mpi.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIPS_MOST = 20000, TRIPS_LEAST = 8, WARM = 4 };

static const int sizes[] = {8, 64, 512, 4096, 8192, 16384, 32768, 49152, 65536, 262144, 1048576};

enum { SIZES = sizeof sizes / sizeof *sizes };

static double trip(int rank, char *data, int size)
{
    double begin = MPI_Wtime();
    if (rank == 0) MPI_Send(data, size, MPI_BYTE, 1, 0, MPI_COMM_WORLD);
    MPI_Recv(data, size, MPI_BYTE, !rank, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (rank == 1) MPI_Send(data, size, MPI_BYTE, 0, 0, MPI_COMM_WORLD);
    return MPI_Wtime() - begin;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Rank 0 knows from its first trips how many fit into the time, and tells. */
static int measure(int rank, char *data, int size, double seconds, double *times)
{
    int trips = 0;
    for (int i = 0; i < WARM; i++) times[i] = trip(rank, data, size);
    if (rank == 0) {
        qsort(times, WARM, sizeof *times, compare);
        double warm = times[0];
        trips = seconds / warm < TRIPS_MOST ? (int)(seconds / warm) : TRIPS_MOST;
        if (trips < TRIPS_LEAST) trips = TRIPS_LEAST;
        MPI_Send(&trips, 1, MPI_INT, 1, 1, MPI_COMM_WORLD);
    } else MPI_Recv(&trips, 1, MPI_INT, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    for (int i = 0; i < trips; i++) times[i] = trip(rank, data, size);
    qsort(times, (size_t)trips, sizeof *times, compare);
    return trips;
}

int main(int argc, char **argv)
{
    int rank, ranks, failed;
    double seconds = argc > 1 ? atof(argv[1]) : 0.5;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    char *data = calloc(1, (size_t)sizes[SIZES - 1]);
    double *times = calloc(TRIPS_MOST, sizeof *times);
    failed = ranks < 2 || !(seconds > 0) || !data || !times;
    if (failed && rank == 0) fprintf(stderr, "bench_ping: it takes two ranks, a time above 0, and some memory\n");
    for (int i = 0; !failed && rank < 2 && i < SIZES; i++) {
        int trips = measure(rank, data, sizes[i], seconds, times);
        if (rank) continue;
        printf("%s{\"bytes\": %d, \"trips\": %d, \"seconds\": %.9f, \"seconds_least\": %.9f}", i ? ",\n " : "[",
               sizes[i], trips, times[trips / 2] / 2, times[0] / 2);
    }
    if (!failed && rank == 0) printf("]\n");
    free(data);
    free(times);
    MPI_Finalize();
    return failed ? 2 : 0;
}
