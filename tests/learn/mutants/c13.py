"""Faults that a learner makes in chapter 13."""

MUTANTS = {
    "13.manager": [
        ("cached pages are no memory", "if num_pages > self.num_available:", "if num_pages > self.pool.num_free:"),
        ("the newest idle page goes first", "page = self.idle[0]", "page = self.idle[-1]"),
        ("evicted, but still found", "(page, *self.prefix_cache.forget(page).cut_off)", "(page,)"),
        (
            "one token short of rounding up",
            "max(0, self.pages_for(num_tokens) - len(pages))",
            "max(0, num_tokens // self.page_size - len(pages))",
        ),
        ("no page for the copy", " + bool(writes_into_shared)", ""),
        ("nobody makes the copy", "                self.copies.append(copied)\n", ""),
        (
            "the whole prompt may be hit",
            "match = self.prefix_cache.match(tokens, (len(tokens) - 1) // self.page_size, salt)\n        num_hit",
            "match = self.prefix_cache.match(tokens, len(tokens) // self.page_size, salt)\n        num_hit",
        ),
        (
            "hit pages are evicted for the rest",
            "        for page in were_idle:\n            self.idle.remove(page)\n        for page in match.pages:\n",
            "        self.make_room(missing)\n        for page in were_idle:\n            if page in self.idle:\n"
            "                self.idle.remove(page)\n        for page in match.pages:\n",
        ),
        ("a hit is not held", "            self.pool.share(page)\n", "            pass\n"),
        ("the budget counts the hit tokens", "min(len(tokens), num_hit + budget)", "min(len(tokens), budget)"),
        ("half a page is published", "(self.published[sequence] + 1) * size <=", "self.published[sequence] * size <"),
        (
            "the cache loses sight of forks",
            "self.cursors[parent], self.published[parent]",
            "None, self.published[parent]",
        ),
        (
            "the head goes first",
            "for page in reversed(self.tables.pages.pop(sequence)):",
            "for page in self.tables.pages.pop(sequence):",
        ),
        ("nothing is kept", "keep = self.prefix_cache.holds(page)", "keep = False"),
    ],
    "13.scheduler": [
        ("the budget is never spent", "                budget -= stop - sequence.num_computed\n", ""),
        (
            "victims of this step are served",
            "            if sequence.status is not Status.RUNNING:\n                continue\n",
            "",
        ),
        ("the oldest gives way", "victim = self.running[-1]", "victim = self.running[0]"),
        (
            "who asked never gives way",
            "                if victim is sequence:\n                    return False\n",
            "                if victim is sequence:\n                    return True\n",
        ),
        ("it waits behind everybody", "        self.waiting.sort(key=lambda one: one.id)\n", ""),
        (
            "its pages are lost",
            "        self.manager.release(sequence.id)\n        self.running.remove",
            "        self.running.remove",
        ),
        ("a place too many", "len(self.running) < self.limits", "len(self.running) <= self.limits"),
        (
            "others overtake",
            "            except OutOfPages:\n                return\n            self.waiting.pop(0)",
            "            except OutOfPages:\n                if len(self.waiting) < 2:\n                    return\n                self.waiting.append(self.waiting.pop(0))\n                continue\n            self.waiting.pop(0)",
        ),
        (
            "hit tokens are paid for",
            "budget -= admitted.num_tokens - admitted.num_hit",
            "budget -= admitted.num_tokens",
        ),
        ("nothing is ever computed", "                chunk.sequence.num_computed = chunk.stop\n", ""),
        ("nobody ends", "                    self.finish(row.sequence, reason)\n", "                    pass\n"),
    ],
}
