"""What the demo serves: 24 requests of mixed lengths, some sharing a system prompt, arriving while others run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pagedlab.scheduling.sampling import SamplingParams

if TYPE_CHECKING:
    from pagedlab.models.tokenizer import Tokenizer

#: About 200 tokens that ten requests have in common.
SYSTEM = """\
You are the assistant of the Harbour Library, a small public library in a fishing town. Answer in one or two short, \
friendly sentences. The library is open from nine in the morning to six in the evening on weekdays, from ten to four \
on Saturdays, and closed on Sundays. Anyone who lives, works or studies in the town may have a card, which is free \
and lasts for two years. A reader may borrow eight books for three weeks and renew each of them twice, unless somebody \
else waits for it. Films and games may be kept for one week. There is no fine for a late return, but nothing more can \
be borrowed until it is back. The reading room on the first floor is quiet; groups may book the tide room beside the \
entrance for two hours. Printing costs ten cents a page. Dogs are welcome if they are dry. If you do not know an \
answer, say so, and send the visitor to the desk beside the entrance, where somebody is always glad to help."""

QUESTIONS = (
    "When do you open on Saturday?",
    "How many books may I borrow?",
    "Is there a fine if I am late?",
    "Can I bring my dog?",
    "What does a library card cost?",
    "Where can our reading group meet?",
    "May I renew a book twice?",
    "How long can I keep a film?",
    "How much is it to print twelve pages?",
    "Are you open on Sunday?",
)

#: Two visitors come back: their first question is asked again, long after it was answered.
RETURNING = (0, 3)

#: Paragraphs of a logbook. Long prompts are made of them, each beginning with another one: nothing to share.
LOGBOOK = (
    "Monday. The fog came in before dawn and stayed until noon. Two boats waited outside the breakwater and counted "
    "the bell: one stroke every ten seconds, then two together. The keeper wrote the times down and lit the second "
    "lamp, which had not been needed since the spring.",
    "Tuesday. Clear, with a light wind from the west. The supply boat brought oil, flour, a parcel of newspapers and a "
    "new glass for the barometer. The old one had stood at the same mark for nine days, whatever the weather did, and "
    "nobody had quite wanted to say so.",
    "Wednesday. The school came to visit. Nineteen children climbed the two hundred and four steps and asked how far "
    "the light can be seen, why it turns, who washes the windows, and whether the keeper is ever lonely. The answers "
    "were: eighteen miles, so that it blinks, the keeper, and not today.",
    "Thursday. Rain since the small hours. The gutter on the north side gave way and the store room took in an inch of "
    "water. The flour was saved, the newspapers were not. In the evening the wind turned and the swell ran over the "
    "landing, so the boat was drawn up to the second ring.",
    "Friday. A cargo ship lost its engine four miles out and drifted with the tide. The harbour sent both tugs. From "
    "the gallery one could follow their lamps, red over white over red, until they stopped moving apart and began to "
    "move together. It was half past three when the signal came that all were safe.",
    "Saturday. Market day. From here the square is a patch of colours no larger than a thumbnail. The keeper counted "
    "the sails instead: thirty-one going out with the morning tide and thirty-one coming back, which is the only sum "
    "in this book that has to come out even.",
    "Sunday. Nothing to report. The lamp was cleaned, the clockwork oiled, the brass polished on the seaward side. A "
    "robin has moved into the coil of rope beside the door and objects to visitors. The rope will be needed in March, "
    "and she has been told.",
)

#: Prompts without a chat format, as short as prompts get.
OPENINGS = (
    "The capital of France is",
    "def fibonacci(n):\n",
    "Once upon a time",
    "1, 2, 3, 5, 8, 13,",
    "Water boils at",
    "Die Hauptstadt von Österreich ist",
)


@dataclass(frozen=True)
class Arrival:
    step: int  #: the step before which it arrives
    name: str
    prompt: str
    params: SamplingParams


def arrivals(tokenizer: Tokenizer) -> list[Arrival]:
    """The 24 requests, in the order of their arrival."""
    requests = []
    for number, question in enumerate(QUESTIONS):
        requests.append(Arrival(2 * number, f"ask{number}", _ask(tokenizer, question), _greedy(40)))
    for number in range(6):
        paragraphs = [LOGBOOK[(number + i) % len(LOGBOOK)] for i in range(number + 2)]
        text = "\n\n".join(["Read this logbook, then tell in two sentences what happened.", *paragraphs])
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}])
        requests.append(Arrival(1 + 3 * number, f"log{number}", prompt, _greedy(64)))
    for number, opening in enumerate(OPENINGS):
        requests.append(Arrival(3 * number, f"run{number}", opening, _greedy(48)))
    for number, visitor in enumerate(RETURNING):
        prompt = _ask(tokenizer, QUESTIONS[visitor])
        requests.append(Arrival(70 + 5 * number, f"again{visitor}", prompt, _greedy(40)))
    return sorted(requests, key=lambda request: request.step)


def _greedy(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=max_tokens)


def _ask(tokenizer: Tokenizer, question: str) -> str:
    return tokenizer.apply_chat_template([{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}])
