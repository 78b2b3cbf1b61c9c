/* Inside the inverted pendulum, for what is held against its model. */
#ifndef STPN_TASKS_PENDULUM_H
#define STPN_TASKS_PENDULUM_H

#include "tasks/env.h"

enum { PENDULUM_CART, PENDULUM_POLE, PENDULUM_BODIES };

/* A copy's state as numbers of its saved state: x and angle, then their velocities, each a double's bits. */
enum { PENDULUM_EPISODE, PENDULUM_STEP, PENDULUM_END, PENDULUM_PLACE, PENDULUM_SPEED = PENDULUM_PLACE + 2 };

/* Whether this build has MuJoCo, and the version of the library that is loaded, 0 where there is none. */
int pendulum_engine(void);
/* What MuJoCo made of the bodies: mass in kg, principal moments of inertia in kg m^2. 0 in a build without it. */
int pendulum_body(const env *e, int body, double *mass, double inertia[3]);

#endif
