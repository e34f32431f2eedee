"""Short texts whose class can be learned."""

import numpy as np

CLASSES = ["Polite", "Impolite"]
_WORDS = {
    0: ["please", "thank you", "would you kindly", "much appreciated", "if you have time", "sorry to trouble you"],
    1: ["stop that", "this is nonsense", "you are wrong", "get lost", "what a stupid edit", "nobody asked you"],
}
_TOPICS = [
    "the article",
    "your page",
    "the image",
    "this template",
    "the talk page",
    "a source",
    "the table",
    "my edit",
]


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Distinct short texts and their classes, which are there to be learned; fewer are the first of more."""
    texts, labels = [], []
    for number in range(count):
        random = np.random.default_rng([seed, number])
        labels.append(int(random.integers(0, 2)))
        texts.append(f"{random.choice(_WORDS[labels[-1]])}, {random.choice(_TOPICS)} number {seed}-{number}")
    return texts, labels
