/* A small pool of threads for loops whose turns are independent (stpn_pool of the public header). */
#ifndef STPN_BASE_THREADS_H
#define STPN_BASE_THREADS_H

#include <stpn/stpn.h>

/* One turn: `task` in [0, count), `worker` in [0, threads) names the thread's own work space. */
typedef void (*pool_task)(void *context, int task, int worker);

/* Runs every turn once and returns when all are done; NULL pool: in order on the calling thread. Which thread takes
 * which turn is open, so nothing that is computed may depend on `worker`. At most `workers` threads take part. */
void pool_run(stpn_pool *pool, int count, int workers, pool_task task, void *context);

#endif
