/* Threads that share the items of a piece of work (team.c). */
#include <stdint.h>

/* Does one item. `thread` is from 0, the caller, to num_threads - 1: two items are never done by one thread at once. */
typedef void (*DoItem)(const void *work, int64_t item, int thread);

/* Does all items, in any order, with up to so many threads, and returns when they are done. */
void share_out(int64_t num_items, int num_threads, DoItem do_item, const void *work);
