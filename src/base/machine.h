/* What this machine is, and what time it is. */
#ifndef STPN_BASE_MACHINE_H
#define STPN_BASE_MACHINE_H

#include <stddef.h>

/* The processor's model name, or "unknown". */
void machine_processor(char *text, size_t size);
/* System and architecture: "Linux x86_64". */
void machine_system(char *text, size_t size);
int machine_processors(void);
/* Seconds of a clock that only goes forward. */
double machine_seconds(void);
/* Seconds since 1970. */
double machine_clock(void);
/* Largest resident size of this process so far, in bytes; 0 where unknown. */
size_t machine_peak_memory(void);

#endif
