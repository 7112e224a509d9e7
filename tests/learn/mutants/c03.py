"""Faults that a learner makes in chapter 03."""

MUTANTS = {
    "03.sketch": [
        ("rows the wrong way round", "return logical, physical", "return physical, logical"),
        ("physical numbers in the physical row", "physical[page] = str(number)", "physical[page] = str(page)"),
        ("the table read backwards", "physical[page] = str(number)", "physical[number] = str(page)"),
        ("one logical page too few", "range(len(pages))", "range(len(pages) - 1)"),
    ],
    "03.locate": [
        ("no table", "return pages[logical], offset", "return logical, offset"),
        ("negative positions answered", "if not 0 <= position <", "if not position <"),
        ("slots leave out the last", "in range(start, stop):", "in range(start, stop - 1):"),
        ("a slot without its page", "page * page_size + offset", "page + offset"),
    ],
    "03.free_queue": [
        ("last in, first out", "popitem(last=False)", "popitem()"),
        (
            "a page given back goes to the front",
            "= None\n",
            "= None\n        self._waiting.move_to_end(page, last=False)\n",
        ),
        ("a page twice goes unnoticed", "if page in self._waiting:", "if False:"),
        ("a removal that does not wait goes unnoticed", "del self._waiting[page]", "self._waiting.pop(page, None)"),
        (
            "a walk",
            "        del self._waiting[page]",
            "        list(self._waiting).index(page)\n        del self._waiting[page]",
        ),
    ],
    "03.pool": [
        ("no first reference", "        self._refcount[page] = 1\n", ""),
        (
            "a hit leaves the page cached",
            "            self._cached.remove(page)\n        self._refcount",
            "        self._refcount",
        ),
        (
            "share of a free page",
            "if page not in self._cached:\n                raise",
            "if False:\n                raise",
        ),
        ("the first drop frees", "if self._refcount[page] == 0:\n            if keep", "if True:\n            if keep"),
        ("content is always kept", "            if keep:", "            if True:"),
        (
            "a drop too many",
            'raise InvariantViolation(f"page {page} was dropped',
            'return 0  # (f"page {page} was dropped',
        ),
        (
            "a blank page is nowhere",
            "        self._cached.remove(page)\n        self._queue.give_back(page)",
            "        self._cached.remove(page)",
        ),
    ],
    "03.extend": [
        ("one page a token", "-(-num_tokens // self.page_size)", "num_tokens"),
        ("rounded down", "-(-num_tokens // self.page_size)", "num_tokens // self.page_size"),
        ("pages held are forgotten", " - len(held))", ")"),
        ("half an allocation", "if needed > self.pool.num_free:", "if False:"),
        ("first page first", "reversed(self.pages.pop(sequence))", "self.pages.pop(sequence)"),
        ("room that shrinks", "max(num_tokens, self.num_tokens.get(sequence, 0))", "num_tokens"),
        ("only the new pages", "self.pages[sequence] = held + added", "self.pages[sequence] = added"),
    ],
    "03.fork": [
        ("no reference for the fork", "self.pool.share(page)", "pass"),
        ("one list for both", "list(self.pages[parent])", "self.pages[parent]"),
        ("writes into a shared page", "if self.pool.refcount(pages[logical]) > 1:", "if False:"),
        ("copies always", "if self.pool.refcount(pages[logical]) > 1:", "if True:"),
        ("the source keeps its count", "            self.pool.drop(source, keep=False)\n", ""),
        (
            "a token that is not counted",
            "        self.num_tokens[sequence] = used + 1\n        return copied",
            "        return copied",
        ),
        (
            "refused too late",
            "        if self.pool.refcount(pages[logical]) > 1:",
            "        if self.pool.refcount(pages[logical]) > 1:\n            self.pool.drop(pages[logical], keep=False)",
        ),
    ],
    "03.audit": [
        ("leaks go unseen", "if count > named:", "if False:"),
        ("the other way round", "elif count < named:", "elif count <= named:"),
        (
            "one name a table",
            "names = [page for pages in tables.values() for page in pages]",
            "names = [page for pages in tables.values() for page in set(pages)]",
        ),
        ("cached pages are lost", "+ (page in cached)", ""),
        ("only free pages twice", "elif homes > (count == 0):", "elif homes > 1:"),
    ],
}
