/* stpn_agent inside. */
#ifndef STPN_TRAIN_AGENT_H
#define STPN_TRAIN_AGENT_H

#include "train/rollout_inside.h"
#include "train/run.h"

struct stpn_agent {
    env_type type;        // of the task, but that the caller steps it
    run run;              // of an actor: with the other's net and experiment
    const stpn_agent *of; // whose network an actor has; NULL: a learner
    char *text;           // resolved experiment
    int updated;          // there is a latest update, and these are of it
    a2c_stats a2c;
    ppo_stats ppo;
    rollout_episodes episodes;
};

#endif
