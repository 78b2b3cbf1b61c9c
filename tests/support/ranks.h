/* Ranks that are threads of the test's process, each with a socket to every other. Include after cmocka.h. */
#ifndef STPN_TESTS_RANKS_H
#define STPN_TESTS_RANKS_H

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/ranks.h"

enum { RANKS_MOST = 9 };

typedef struct crew {
    int count;
    int ends[RANKS_MOST][RANKS_MOST]; // of the socket between two ranks, that of the first
    stpn_ranks ranks[RANKS_MOST];
    struct crew_seat {
        struct crew *crew;
        int rank;
        int64_t messages; // sent
        int64_t last;     // after which it is lost; 0: never
    } seats[RANKS_MOST];
} crew;

/* A rank that leaves is lost to all others. */
static inline void crew_leave(crew *c, int rank)
{
    for (int other = 0; other < c->count; other++)
        if (other != rank) shutdown(c->ends[rank][other], SHUT_RDWR);
}

static inline int crew_send(void *context, int to, const void *data, size_t bytes)
{
    struct crew_seat *seat = context;
    if (seat->last && seat->messages >= seat->last) return -1;
    seat->messages++;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = send(seat->crew->ends[seat->rank][to], (const char *)data + done, bytes - done, MSG_NOSIGNAL);
        if (n <= 0 && errno != EINTR) return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static inline int crew_receive(void *context, int from, void *data, size_t bytes)
{
    const struct crew_seat *seat = context;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = recv(seat->crew->ends[seat->rank][from], (char *)data + done, bytes - done, 0);
        if (n == 0 || (n < 0 && errno != EINTR)) return -1;
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static inline void crew_open(crew *c, int count)
{
    assert_in_range(count, 1, RANKS_MOST);
    *c = (crew){.count = count};
    for (int i = 0; i < count; i++) {
        c->seats[i] = (struct crew_seat){.crew = c, .rank = i};
        c->ranks[i] = (stpn_ranks){
            .rank = i, .count = count, .context = &c->seats[i], .send = crew_send, .receive = crew_receive};
        for (int k = 0; k < i; k++) {
            int pair[2];
            assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
            c->ends[i][k] = pair[0];
            c->ends[k][i] = pair[1];
        }
    }
}

static inline void crew_close(crew *c)
{
    for (int i = 0; i < c->count; i++)
        for (int k = 0; k < c->count; k++)
            if (i != k) close(c->ends[i][k]);
}

/* Runs `work(context, rank)` in a thread for each rank. cmocka's assertions are for the caller's thread alone. */
typedef struct crew_turn {
    void (*work)(void *context, int rank);
    void *context;
    int rank;
} crew_turn;

static inline void *crew_thread(void *turn)
{
    const crew_turn *t = turn;
    t->work(t->context, t->rank);
    return NULL;
}

static inline void crew_run(const crew *c, void (*work)(void *context, int rank), void *context)
{
    pthread_t threads[RANKS_MOST];
    crew_turn turns[RANKS_MOST];
    for (int i = 0; i < c->count; i++) {
        turns[i] = (crew_turn){work, context, i};
        assert_int_equal(pthread_create(&threads[i], NULL, crew_thread, &turns[i]), 0);
    }
    for (int i = 0; i < c->count; i++) pthread_join(threads[i], NULL);
}

#endif
