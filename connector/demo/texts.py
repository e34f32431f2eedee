"""Requests between people who write together, polite and impolite, made from a small grammar.

A request has an opening, the request itself and a closing, each drawn from phrases that lean to one side, to neither,
or that say nice words and mean the opposite. Which side the whole falls on is the sum of its parts: no single phrase
decides, and a model that has seen few labels has not met most phrases. So accuracy grows over the first hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from connector.demo.dataset import Corpus

POLITE, IMPOLITE = "Polite", "Impolite"

# How often each annotator is right.
ANNOTATORS = {"ada": 0.95, "ben": 0.9, "cleo": 0.85, "dan": 0.8, "eve": 0.7}
# Nobody is as sure of a request that leans both ways.
ERRORS_IF_CLEAR, ERRORS_IF_AMBIGUOUS = 0.8, 1.8

# Weight of a phrase: above 0 polite, below 0 impolite. {it} is a thing, {do} something to be done, {doing} its gerund.
OPENINGS: dict[str, float] = {
    "Hi {name}, thank you for all your work on {it}.": 1.0,
    "Hello {name}, I hope you are well.": 0.8,
    "Sorry to bother you again.": 0.9,
    "I really like what you did with {it}.": 1.0,
    "Good morning! I noticed your changes to {it}.": 0.5,
    "I am new here, so forgive me if I got {it} wrong.": 1.0,
    "You clearly know {it} better than I do.": 0.8,
    "Welcome back, {name}.": 0.7,
    "I enjoyed reading {it}.": 0.7,
    "First of all, well done on {it}.": 0.9,
    "I may be mistaken about {it}.": 0.7,
    "About {it}:": 0.0,
    "I was reading {it} this morning.": 0.0,
    "{name}, this concerns {it}.": 0.0,
    "There are two versions of {it}.": 0.0,
    "Somebody changed {it} last week.": -0.1,
    "I see that {it} has been edited again.": -0.2,
    "A question on {it}.": 0.1,
    "The deadline is Friday.": -0.1,
    "I looked at {it} twice.": 0.0,
    "I have told you about {it} before.": -0.9,
    "Did you even read {it}?": -1.1,
    "Look, {name}.": -0.6,
    "{it_} is a mess, as always.": -1.1,
    "Who told you to touch {it}?": -1.1,
    "You broke {it} again.": -1.0,
    "I have no time for this.": -0.8,
    "Nobody asked for your opinion on {it}.": -1.2,
    "It is beyond me how anyone can get {it} wrong.": -1.0,
    "Once more, for those who do not listen.": -1.0,
    # Nice words, meant otherwise.
    "Oh, wonderful, another brilliant change to {it}.": -1.0,
    "Thank you so much for ruining {it}.": -1.1,
    "How kind of you to ignore my last note on {it}.": -1.0,
    "Congratulations, {it} is now worse than ever.": -1.0,
    "I am sure you did your very best with {it}, such as it is.": -0.8,
    # Harsh words, meant kindly.
    "I made a terrible mess of {it}, entirely my fault.": 0.8,
    "It was stupid of me to overwrite {it}.": 0.8,
    "I hate to ask, I know how busy you are.": 0.9,
}
REQUESTS: dict[str, float] = {
    "Could you please {do}?": 0.7,
    "Would you mind {doing}?": 0.9,
    "I would be grateful if you could {do}.": 1.1,
    "If you have a moment, would you {do}?": 0.9,
    "Might I ask you to {do}?": 0.9,
    "Is there any chance you could {do}?": 0.7,
    "Perhaps we could {do} together?": 0.8,
    "Whenever it suits you, could you {do}?": 0.9,
    "I wonder whether you would be willing to {do}.": 0.9,
    "It would help me a lot if you could {do}.": 0.8,
    "Do you think it makes sense to {do}?": 0.5,
    "Can you {do}?": 0.1,
    "Please {do}.": 0.0,
    "Somebody should {do}.": -0.2,
    "The next step is to {do}.": 0.0,
    "Will you {do}, or shall I?": -0.1,
    "When do you plan to {do}?": -0.2,
    "It is time to {do}.": -0.2,
    "What is left is to {do}.": 0.0,
    "Just {do} already.": -0.9,
    "How many times must I ask you to {do}?": -1.1,
    "Why have you still not managed to {do}?": -1.0,
    "I expect you to {do} by tonight.": -0.8,
    "Are you ever going to {do}?": -0.9,
    "You need to {do}, now.": -0.8,
    "Do your job and {do}.": -1.1,
    "What exactly keeps you from {doing}?": -0.8,
    "Is it too much to ask of you to {do}?": -0.9,
    "Stop arguing and {do}.": -1.0,
    "Even a child could {do}.": -1.1,
    "Perhaps you could find it in your heart to {do}, for once.": -0.7,
    "Please be so kind as to finally {do}.": -0.6,
}
CLOSINGS: dict[str, float] = {
    "Thank you very much!": 0.8,
    "No rush at all.": 0.8,
    "Let me know if I can help.": 0.8,
    "Thanks in advance, {name}.": 0.6,
    "I appreciate it.": 0.7,
    "And please tell me if I missed something.": 0.6,
    "I owe you a coffee.": 0.7,
    "": 0.0,
    "It is on page {number}.": 0.0,
    "See version {number}.": 0.0,
    "The others wait for it.": -0.1,
    "Then we can close it.": 0.0,
    "Regards": 0.0,
    "Thanks.": 0.1,
    "Don't make me ask again.": -1.0,
    "Otherwise leave {it} alone.": -0.9,
    "Unbelievable.": -0.8,
    "And spare me your excuses.": -1.1,
    "Some of us have work to do.": -0.9,
    "Thanks for nothing.": -1.0,
    "Take all the time in the world, as you always do.": -0.8,
}
THINGS = (
    "the introduction",
    "the second table",
    "the map of the region",
    "your draft",
    "the list of sources",
    "the photo caption",
    "the summary",
    "the talk page",
    "the translation",
    "the glossary",
    "the reference section",
    "the chart on sales",
    "the minutes",
    "the test report",
    "the budget sheet",
    "the front page",
    "the travel plan",
    "the interview",
    "the style guide",
    "the footnotes",
    "the invoice",
    "the survey",
    "the chapter on rivers",
    "the timeline",
    "the recipe",
    "the schedule",
    "the policy page",
    "the template",
    "the biography",
    "the press release",
)
# What is to be done: infinitive, gerund, object.
DEEDS = (
    ("fix", "fixing", "the links"),
    ("add", "adding", "a source"),
    ("shorten", "shortening", "the second paragraph"),
    ("check", "checking", "the figures"),
    ("remove", "removing", "the duplicate entry"),
    ("explain", "explaining", "the last edit"),
    ("move", "moving", "the images to the right"),
    ("restore", "restoring", "the old title"),
    ("rename", "renaming", "the file"),
    ("upload", "uploading", "the missing page"),
    ("merge", "merging", "the two lists"),
    ("correct", "correcting", "the spelling"),
    ("update", "updating", "the numbers for this year"),
    ("send", "sending", "me the original"),
    ("sort", "sorting", "the names by date"),
    ("reply", "replying", "to the reviewers"),
    ("delete", "deleting", "the empty rows"),
    ("review", "reviewing", "the changes of yesterday"),
    ("rewrite", "rewriting", "the conclusion"),
    ("translate", "translating", "the abstract"),
    ("mark", "marking", "the open questions"),
    ("undo", "undoing", "the last three edits"),
    ("archive", "archiving", "the old discussion"),
    ("split", "splitting", "the long section"),
)
PARTS = ((OPENINGS, 0.8), (REQUESTS, 1.0), (CLOSINGS, 0.6))  # with the share of texts that have one
NAMES = ("Anna", "Bilal", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jana", "Kofi", "Lena")


@dataclass(frozen=True)
class Request:
    """A generated text, what it is, and whether people may well disagree on that."""

    text: str
    label: str
    ambiguous: bool


def generate(tasks: int = 600, test: int = 300, seed: int = 0) -> Corpus:
    """`tasks` texts with a label of each of five annotators, and `test` texts with their true label; no text twice."""
    rng = np.random.default_rng(seed)
    requests: dict[str, Request] = {}
    while len(requests) < tasks + test:
        request = _request(rng)
        requests.setdefault(request.text, request)
    to_label, to_test = list(requests.values())[:tasks], list(requests.values())[tasks:]
    factors = np.array([ERRORS_IF_AMBIGUOUS if request.ambiguous else ERRORS_IF_CLEAR for request in to_label])
    factors /= factors.mean() if tasks else 1.0
    annotations = {}
    for number, request in enumerate(to_label):
        annotations[f"t{number}"] = [
            (
                annotator,
                _other(request.label) if rng.random() < min(0.5, (1 - quality) * factors[number]) else request.label,
            )
            for annotator, quality in ANNOTATORS.items()
        ]
    return Corpus(
        tasks={f"t{number}": request.text for number, request in enumerate(to_label)},
        annotations=annotations,
        test=[(request.text, request.label) for request in to_test],
    )


def _request(rng: np.random.Generator) -> Request:
    side = rng.choice([-1.0, 1.0])
    weight = 0.0
    while abs(weight) < 0.1:  # all neutral: nobody could say which it is
        parts = [_phrase(phrases, side, rng) for phrases, share in PARTS if rng.random() < share]
        weight = sum(lean for _, lean in parts)
    text = _fill(" ".join(phrase for phrase, _ in parts if phrase), rng)
    return Request(text, POLITE if weight > 0 else IMPOLITE, ambiguous=abs(weight) < 0.5)


def _phrase(phrases: dict[str, float], side: float, rng: np.random.Generator) -> tuple[str, float]:
    """A phrase that leans to `side`, or to neither, or now and then to the other; and its weight."""
    towards = rng.choice([side, 0.0, -side], p=[0.55, 0.33, 0.12])
    leaning = [phrase for phrase, weight in phrases.items() if (abs(weight) > 0.3) * np.sign(weight) == towards]
    phrase = str(rng.choice(leaning))
    return phrase, phrases[phrase]


def _fill(text: str, rng: np.random.Generator) -> str:
    thing = str(rng.choice(THINGS))
    verb, gerund, target = DEEDS[rng.integers(len(DEEDS))]
    return text.format(
        name=rng.choice(NAMES),
        it=thing,
        it_=thing[0].upper() + thing[1:],
        do=f"{verb} {target}",
        doing=f"{gerund} {target}",
        number=rng.integers(2, 40),
    )


def _other(label: str) -> str:
    return IMPOLITE if label == POLITE else POLITE
