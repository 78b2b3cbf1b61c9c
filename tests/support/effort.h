/* How far a test goes where everything takes ten times as long: under a sanitizer, which looks at how the code runs, and
 * under an emulator, which is there for one more kernel. Include after cmocka.h. */
#ifndef STPN_TESTS_EFFORT_H
#define STPN_TESTS_EFFORT_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(UNDER_THREAD_SANITIZER)
enum { LOOKS_FOR_RACES = 1 };
#else
enum { LOOKS_FOR_RACES = 0 };
#endif

/* 1: in such a build, cases that take the same path at another size or with another draw are shared out: each kind of case
 * is run, not each with each. What differs in the memory it touches is run in full. */
enum { SHARED_OUT = STPN_TESTS_SHARED_OUT };

/* First in a test that never has two threads: there is no race to be found. */
#define on_one_thread()              \
    do {                             \
        if (LOOKS_FOR_RACES) skip(); \
    } while (0)

#endif
