"""Writes a folder for `connector simulate --data`: generated recordings, labelled by three people who are often wrong.

PYTHONPATH=tests python tests/support/recording_corpus.py FOLDER
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from support.made_recordings import KINDS, as_bytes, make

GRAIN = 0.6  # of the noise over the sounds, whose peaks are 0.2 to 0.8
PEOPLE = {"anna": 0.85, "ben": 0.75, "cleo": 0.65}  # how often they are right
HEADS = {
    "tasks": ("id", "audio"),
    "annotations": ("id", "annotator", "label"),
    "test": ("id", "audio", "label"),
    "truth": ("id", "label"),
}


def write_corpus(folder: Path, tasks: int = 600, test: int = 300, seed: int = 5) -> None:
    """Writes `tasks` recordings with three labels each, and `test` more with their true label."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    rows: dict[str, list[tuple[str, ...]]] = {name: [] for name in HEADS}
    for number in range(tasks + test):
        (folder / f"{number}.wav").write_bytes(as_bytes(make(number, grain=GRAIN)))
        kind = KINDS[number % len(KINDS)]
        if number >= tasks:
            rows["test"].append((f"x{number}", f"{number}.wav", kind))
            continue
        rows["tasks"].append((f"t{number}", f"{number}.wav"))
        rows["truth"].append((f"t{number}", kind))
        others = [other for other in KINDS if other != kind]
        for person, quality in PEOPLE.items():
            label = kind if random.random() < quality else str(random.choice(others))
            rows["annotations"].append((f"t{number}", person, label))
    for name, head in HEADS.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([head, *rows[name]])


if __name__ == "__main__":
    write_corpus(Path(sys.argv[1]))
