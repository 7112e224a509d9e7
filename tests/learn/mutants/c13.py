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
    "13.film": [
        ("evictions are silent", "            self.note(EventKind.EVICT, page=page)\n", "            pass\n"),
        (
            "no copy of the table as it was",
            "before = list(self.tables.pages[sequence])",
            "before = self.tables.pages[sequence]",
        ),
        (
            "copies look like growth",
            "                self.note(EventKind.COPY, page=page, sequence=sequence, value=before[logical])\n",
            "",
        ),
        (
            "the source of a copy is not released",
            "                self.note(EventKind.RELEASE, page=before[logical], sequence=sequence, value=logical)\n",
            "",
        ),
        ("pages of tokens", "range(admitted.num_hit // self.page_size)", "range(admitted.num_hit)"),
        ("everything is published again", "self.fresh[known:]", "self.fresh"),
        (
            "a fork without its pages",
            "            self.note(EventKind.SHARE, page=page, sequence=child, value=logical)\n",
            "            pass\n",
        ),
        ("the head first", "for logical in reversed(range(len(pages))):", "for logical in range(len(pages)):"),
    ],
    "13.watch": [
        ("every page is full", "min(size, table.num_tokens - logical * size)", "size"),
        ("the last to look wins", "max(tokens, filled.get(page, 0))", "tokens"),
        ("tokens are added up", "max(tokens, filled.get(page, 0))", "tokens + filled.get(page, 0)"),
        ("pages for slots", "(len(filled) * size, sum", "(len(filled), sum"),
        (
            "what is held now",
            "max((held for held, _ in self.readings), default=0)",
            "self.readings[-1][0] if self.readings else 0",
        ),
        (
            "a mean of shares",
            "return (held - filled) / held if held else 0.0",
            "shares = [1 - f / h for h, f in self.readings if h]\n        return sum(shares) / len(shares) if shares else 0.0",
        ),
        ("what is used", "return (held - filled) / held", "return filled / held"),
    ],
    "13.attention": [
        (
            "the whole row of the table",
            "batch.page_tables[number, : -(-length // size)].tolist()",
            "batch.page_tables[0].tolist()",
        ),
        ("one row a sequence", "rows = slice(starts[number], starts[number + 1])", "rows = slice(number, number + 1)"),
        ("all queries for everybody", "paged_attention(q[rows], kv", "paged_attention(q, kv"),
        ("no scale", "length, scale)", "length, 1.0)"),
        (
            "everybody as long as the longest",
            "out[rows] = paged_attention(q[rows], kv, pages, length, scale)",
            "out[rows] = paged_attention(q[rows], kv, pages, batch.max_context_len, scale)",
        ),
    ],
    "13.serve": [
        ("pages of 16 for the cache", "PrefixCache(page_size)", "PrefixCache(16)"),
        ("the engine's own manager", "        manager=Manager,\n", ""),
        ("the engine's own scheduler", "        scheduler=Scheduler,\n", ""),
        ("the engine's own attention", "        attention=attend,\n", ""),
        ("knobs are lost", "        **knobs,\n", ""),
        ("a pool of another size", "pool=PagePool(num_pages)", "pool=PagePool(96)"),
    ],
}
