/* A team of threads for work that lasts microseconds.
 *
 * The idea. A decode step has some 200 pieces of work, one after the other, a few tens of microseconds each. Who falls
 * asleep between two of them is woken too late for the next: on two cores that costs a third of a step. Who stays awake
 * and spins, as OpenMP's threads can be told to, takes a core from whoever needs it, which may be the very thread that
 * is waited for: with one other busy process on the machine, steps became ten times as long.
 *
 * So threads wait in three stages: they look for work, for a moment; then they look and let others run in between
 * (sched_yield); then they sleep. And nobody is waited for who has not begun: each has a share of items that lie side
 * by side, as their memory does, takes them one by one, and then takes what is left of others' shares. A thread that
 * comes too late finds nothing left. A machine that is busy elsewhere costs the help, not more.
 *
 *   caller   open ── item ── item ── item ── close ── wait until nobody is inside ── return
 *   helper        come in ── item ── item ── leave
 *   late                                              (closed: stays out)
 */
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define MOST 64           /* threads of a team */
#define LOOKS 200         /* at first, without letting others run */
#define AWAKE 200000      /* nanoseconds for which a helper looks for more work before it sleeps */

static struct {
    DoItem do_item;
    const void *work;
    int64_t num_items;
    int num_threads;
} job; /* written while it is closed and nobody is inside; read inside */

static struct {
    _Alignas(64) atomic_llong next; /* a line of the cache for each, or one would wait for the other to write its own */
    int64_t end;
} share[MOST];
static atomic_uint opened;  /* jobs so far; wakes those who look for work */
static atomic_int is_open, inside, asleep;
static pthread_mutex_t busy = PTHREAD_MUTEX_INITIALIZER, bed = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t morning = PTHREAD_COND_INITIALIZER;
static int helpers; /* that there are; of the caller who holds `busy` */

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* First of the own share, then of the others'. */
static void take_items(int thread) {
    for (int i = 0; i < job.num_threads; i++) {
        const int whose = (thread + i) % job.num_threads;
        for (;;) {
            const int64_t item = atomic_fetch_add(&share[whose].next, 1);
            if (item >= share[whose].end) break;
            job.do_item(job.work, item, thread);
        }
    }
}

/* Returns when there has been a job after number `seen`. */
static void wait_for_work(unsigned seen) {
    for (int look = 0; look < LOOKS; look++) {
        if (atomic_load(&opened) != seen) return;
        relax();
    }
    for (const int64_t end = nanoseconds() + AWAKE; nanoseconds() < end;) {
        if (atomic_load(&opened) != seen) return;
        sched_yield();
    }
    pthread_mutex_lock(&bed);
    atomic_fetch_add(&asleep, 1);
    while (atomic_load(&opened) == seen) pthread_cond_wait(&morning, &bed);
    atomic_fetch_sub(&asleep, 1);
    pthread_mutex_unlock(&bed);
}

static void *help(void *number) {
    const int thread = (int)(intptr_t)number;
    for (unsigned seen = 0;; seen = atomic_load(&opened)) {
        /* Whoever is inside keeps the job from being changed; who finds it closed must not look at it. */
        atomic_fetch_add(&inside, 1);
        if (atomic_load(&is_open) && thread < job.num_threads) take_items(thread);
        atomic_fetch_sub(&inside, 1);
        wait_for_work(seen);
    }
    return NULL;
}

/* In a new process there is only the thread that forked. */
static void forget_helpers(void) {
    helpers = 0;
    atomic_store(&inside, 0);
    atomic_store(&asleep, 0);
    atomic_store(&is_open, 0);
    pthread_mutex_init(&busy, NULL);
    pthread_mutex_init(&bed, NULL);
    pthread_cond_init(&morning, NULL);
}

static void call_helpers(int wanted) {
    static int told;
    if (!told) told = pthread_atfork(NULL, NULL, forget_helpers) == 0;
    while (helpers < wanted) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, (void *)(intptr_t)(helpers + 1))) return; /* then with fewer */
        pthread_detach(thread);
        helpers++;
    }
}

void share_out(int64_t num_items, int num_threads, DoItem do_item, const void *work) {
    if (num_threads > MOST) num_threads = MOST;
    if (num_threads > num_items) num_threads = (int)num_items;
    /* There is one team: who finds it at work for another caller does the work alone. */
    if (num_threads < 2 || pthread_mutex_trylock(&busy)) {
        for (int64_t item = 0; item < num_items; item++) do_item(work, item, 0);
        return;
    }
    call_helpers(num_threads - 1);
    job.do_item = do_item;
    job.work = work;
    job.num_items = num_items;
    job.num_threads = num_threads;
    for (int i = 0; i < num_threads; i++) {
        atomic_store(&share[i].next, num_items * i / num_threads);
        share[i].end = num_items * (i + 1) / num_threads;
    }
    atomic_store(&is_open, 1);
    atomic_fetch_add(&opened, 1);
    if (atomic_load(&asleep)) {
        pthread_mutex_lock(&bed);
        pthread_cond_broadcast(&morning);
        pthread_mutex_unlock(&bed);
    }
    take_items(0);
    atomic_store(&is_open, 0);
    for (int look = 0; atomic_load(&inside); look++) {
        if (look < LOOKS)
            relax();
        else
            sched_yield();
    }
    pthread_mutex_unlock(&busy);
}
