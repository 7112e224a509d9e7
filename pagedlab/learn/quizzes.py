"""The quizzes of the course: ``quiz("06.bottleneck")`` in a notebook. They stand here so that no cell tells the answer.

A quiz is a question, its answers, and for each the reason why it is right or wrong. The right one stands first here;
where it stands on the card is drawn by the quiz's name, so it is the same for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from pagedlab.errors import InvalidConfig
from pagedlab.view.quiz import Quiz

#: name -> question, answers with reasons; the first answer is the right one.
QUIZZES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "01.four_bits": (
        "A 4-bit checkpoint of a 16-bit model is served to 64 users. What is four times smaller?",
        {
            "the weights, and nothing else": "The cache is written at run time, in the format that the engine was "
            "told. Chapter 09 is about that.",
            "the memory that the server needs": "Only if nobody sends a token. The cache of 64 users is in its own "
            "format and did not move.",
            "weights and cache, because both come from the same numbers": "Keys and values are computed from "
            "weights, but kept as the engine chooses: usually in 16 bits.",
        },
    ),
    "02.why_pages": (
        "Why paged, and not one large contiguous reservation for each request?",
        {
            "because waste is bounded by a page for each request, and any free page will do": "Neither the unused "
            "tail nor the holes between requests: 5,288 slots became 424.",
            "contiguous always wins, because GPUs dislike indirection": "One look-up for a tile of many tokens is "
            "cheap; what is dear is memory that nobody uses. Every fast engine pays for the look-up.",
            "because pages make the arithmetic of attention smaller": "The arithmetic is the same to the last "
            "product. Only where the numbers lie has changed.",
        },
    ),
    "02.last_page": (
        "Two requests of 5 tokens each live in pages of 4. How many tokens' room do they leave unused?",
        {
            "6": "Each has two pages, so room for 8, and uses 5: three unused for each.",
            "none, for pages end waste": "They bound it. The last page of each request is partly filled unless its "
            "length is a multiple of the page size.",
            "3, as the two can share the last page": "A page belongs to one sequence unless its content is the same. "
            "Two different tails cannot live in one page.",
        },
    ),
    "03.next_page": (
        "A sequence of 8 tokens fills its two pages of 4. What does its ninth token need?",
        {
            "one free page, anywhere": "The table gets a third entry. No page before it is moved, copied or looked at.",
            "a free page beside its second one": "That would be contiguous memory again. Attention finds pages "
            "through the table, so neighbours mean nothing.",
            "three pages in a new place, and a copy": "A growing array does that. The table is what makes it "
            "unnecessary: what is written stays where it is.",
            "nothing: pages are reserved for the longest answer": "Then the tail that nobody uses would be back. "
            "Pages come one at a time, when a token needs one.",
        },
    ),
    "04.merge": (
        "Two halves of a context were attended separately. What else than the two outputs does their merge need?",
        {
            "each half's log-sum-exp": "It says how much weight each half carried; outputs are averaged with it. One "
            "number for each head and token.",
            "nothing: the mean of the two is right": "Only if both halves carry the same weight. A half that holds "
            "the one relevant token should count for nearly everything.",
            "the keys of both halves": "Then nothing was won. A softmax can be rescaled afterwards, and the "
            "log-sum-exp is all it takes.",
        },
    ),
    "04.order": (
        "The pages of a sequence are shuffled in memory, and its table follows. What happens to its attention?",
        {
            "nothing, but for the last bits of its sums": "A softmax weighs a set of keys. Each key's position was "
            "rotated into it when it was written, so its place in memory says nothing.",
            "it needs the pages sorted first": "Sorting would be a copy of the cache. The table gives each page in "
            "logical order, wherever it lies.",
            "positions come out wrong": "They would if position were taken from the address. It is taken from the "
            "index in the sequence, and rotated into the key once.",
        },
    ),
    "05.interpreter": (
        "A kernel gives the right result under the interpreter, for every shape tried. What is still open?",
        {
            "speed, registers, and what the compiler makes of it": "The interpreter runs the programs one after "
            "another on NumPy: it knows no registers, no races between warps and no compiler's refusal.",
            "nothing: the same code runs on the GPU": "The same source does. Compiled code has its own limits, such "
            "as registers that spill and shapes that tl.dot refuses.",
            "whether the page table is read correctly": "That it does show, and well: room that must not be read can "
            "be poisoned with NaN.",
        },
    ),
    "05.splits": (
        "One request decodes over 100,000 tokens on a chip with 132 processors. Why split its context?",
        {
            "one program a KV head leaves most processors idle": "A model with 8 KV heads gives 8 programs. Split "
            "into parts, each with its own partial softmax, the whole chip reads.",
            "because a softmax needs all scores at once": "The online softmax needs a tile at a time. One program "
            "could do it all, only slowly.",
            "because pages are too small for one program": "A program walks over any number of pages. What is "
            "missing is not room but other programs beside it.",
        },
    ),
    "06.batch": (
        "16 users decode together where one did before. On the processor of this chapter a step then takes ...",
        {
            "longer, but far less than 16 times as long": "The weights are read once for all 16. What grows is "
            "arithmetic, which had room to spare, and 16 caches instead of one.",
            "16 times as long": "That would be 16 steps of one user. In one step the weights come from memory once.",
            "exactly as long": "Nearly so where the arithmetic is free, as on a GPU with short contexts. A CPU's "
            "roof is low: at 16 sequences its ridge is near.",
        },
    ),
    "06.bottleneck": (
        "Why is decode, and not prefill, what waits for memory?",
        {
            "it reads all weights and its whole cache for one new token": "Bytes a step stay, work a step shrinks to "
            "a single token: half a FLOP for each byte in float32, where the machine could do ten or a hundred.",
            "both stress the same resources in the same way": "The same matrices, yes. But prefill multiplies each "
            "weight that it has read with every token of the prompt, decode with one token for each sequence.",
            "decode's attention computes more": "For its one token it computes as much as prefill does for its last "
            "one, and less than for all of them together. It is the bytes for each of these operations that are many.",
            "prefill needs no cache": "It writes all of it, and its later tokens read what earlier ones wrote. That "
            "is little traffic beside the arithmetic of a long prompt.",
        },
    ),
    "07.budget": (
        "A step has room for 64 tokens. 60 sequences decode, and a prompt of 500 waits. What does the step compute?",
        {
            "60 decodes and the first 4 tokens of the prompt": "Running sequences come first, and the prompt takes "
            "what is left: it is cut into chunks. Nobody waits for a whole prompt.",
            "the first 64 tokens of the prompt": "Then 60 users would see their answer stop. Prompts that push in "
            "front are what chunking was made against.",
            "60 decodes only, as the prompt does not fit": "Then 4 tokens of the budget are wasted, and under steady "
            "load the prompt would wait for ever.",
        },
    ),
    "07.preempt": (
        "No page is left for a running request. Which one should make room?",
        {
            "the one that came last, by going back to the head of the queue": "It has done the least work, and "
            "nobody who came before is overtaken. Its tokens are computed again, or swapped back in.",
            "the longest, as it frees most": "It is likely the nearest to its end, and costs most to compute again. "
            "It would also be the victim again and again.",
            "none: the request fails": "Nothing needs to be lost. The pages of another can be given up and its "
            "tokens computed again.",
        },
    ),
    "08.why_sharing": (
        "Why prefix sharing on top of page reuse?",
        {
            "reuse hands out blank pages again; sharing keeps what is in them": "So the prefix is neither computed a "
            "second time nor held a second time.",
            "prefix caching only speeds up the tokenizer": "The tokenizer takes microseconds. What is saved is "
            "computing keys and values of the prefix, and holding them once for each user.",
            "so that free pages never run out": "Cached pages are the first to be evicted when room is needed; "
            "sharing lowers the need, it does not end it.",
        },
    ),
    "08.found": (
        "A prompt of 40 tokens was served in pages of 16, and its pages are cached. The same prompt comes again. How "
        "many of its tokens are found?",
        {
            "32": "Two full pages. The last 8 tokens lie in a page that was never full, so it has no key.",
            "39, as one must be computed": "That rule holds, but it is not what limits here: without partial hits "
            "whole pages are found or nothing.",
            "40": "The third page is not full: its key would change with the next token, so it was never published. "
            "And one token must be computed in any case.",
        },
    ),
    "08.crowd": (
        "A cache evicts the least recently used page. A crowd of prompts comes that nobody will repeat. What helps "
        "those who return every minute?",
        {
            "an order that looks at hits, or a wish to keep what is known to return": "A page that was never hit then "
            "goes before one that was, however new it is.",
            "first in, first out": "It looks at age alone: what is asked for every minute was published long ago, and "
            "goes first.",
            "larger pages": "They hold the same tokens, and find less: a whole page must agree before it is a hit.",
        },
    ),
    "09.long_prompts": (
        "A server with 4-bit weights runs out of memory when users send long prompts. What helps most?",
        {
            "a cache in int8": "It halves what grows with every token of every user, at an error that can hardly be "
            "measured (int8 with a scale for each row).",
            "3-bit weights": "The weights are the shorter line of the bill already; an eighth of a byte less for "
            "each changes little.",
            "a smaller page size": "That saves less than a page for each user. The tokens themselves take the room.",
        },
    ),
    "10.allocator_first": (
        "Why a smarter allocator before a bigger model?",
        {
            "because memory that is not wasted becomes live requests, and those become throughput": "Within the same "
            "promise to users more of them are served, before anything is bought.",
            "the best model on paper is automatically the best to serve": "Not if its users wait. What counts is the "
            "best model that packs, schedules and meets its latency on this machine.",
            "because a bigger model needs no cache": "It needs more: more layers, often more heads, so more bytes "
            "for every token.",
        },
    ),
    "11.no_preemption": (
        "TGI never preempts a running request. What does it pay for that?",
        {
            "it reserves every request's longest answer, so fewer run at once": "Room for the most that could come "
            "is set aside on admission. Answers that stop early leave it unused.",
            "nothing, as preemption is always a mistake": "Preemption is the price of admitting more than is certain "
            "to fit. Where answers are short of their limit, that is a good bargain.",
            "it may run out of memory": "That is what the reservation excludes: everything admitted can finish.",
        },
    ),
    "11.same_tokens": (
        "One trace runs under five systems' rules, with the same weights and cache format. What must be equal?",
        {
            "the tokens of every answer": "Page sizes, queues and evictions say where and when something is "
            "computed. None of them may change what is.",
            "the number of steps": "Steps depend on admission and budgets, and these are what the five choose "
            "differently.",
            "the hit rate": "A tree over single tokens hits more than hashes of whole pages, and what was evicted "
            "cannot be hit.",
        },
    ),
    "12.page_tables": (
        "Two ranks of a tensor-parallel group serve one request. How many page tables are there?",
        {
            "one, the same on both, made by each for itself": "Pages are cut by heads: each rank holds its slice of "
            "every page, under the same number.",
            "one for each rank, and they differ": "Then page 7 would be two different things, and every plan would "
            "have to be made twice.",
            "half a table on each rank": "The tokens are not shared out, the heads are. Each rank needs all of the "
            "tokens.",
        },
    ),
    "13.what_is_proved": (
        "Your engine gives the right tokens for 1,000 requests. What has been proved about its memory?",
        {
            "very little": "Tokens prove addresses and copies. Leaks, counts and eviction need the books: check() "
            "after every step.",
            "that it is right": "A page that leaks changes no token until memory is gone; a count that is too high "
            "does so as well.",
            "that nothing was evicted": "Eviction does not show in tokens either: what was evicted is computed again.",
        },
    ),
}


def quiz(name: str) -> Quiz:
    """The quiz of that name. Raises InvalidConfig where there is none."""
    if name not in QUIZZES:
        raise InvalidConfig(f"there is no quiz {name!r}; there are {', '.join(QUIZZES)}")
    question, reasons = QUIZZES[name]
    answers = list(reasons)
    right = answers[0]
    Random(name).shuffle(answers)
    return Quiz(question, {answer: reasons[answer] for answer in answers}, right=right)
