"""Recordings that tests make themselves: three kinds that sound different, each with parameters of its own."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

KINDS = ["tone", "noise", "chirp"]
RATE = 16_000

Samples = npt.NDArray[np.float32]


def make(
    number: int, kind: str | None = None, seconds: float | None = None, rate: int = RATE, grain: float = 0.02
) -> Samples:
    """The samples of a number, float32 (n,): a tone, noise or a chirp by its rest by 3.

    Over it is noise whose deviation is `grain`.
    """
    random = np.random.default_rng(number)
    kind = kind or KINDS[number % 3]
    seconds = seconds or float(random.uniform(0.5, 1.5))
    time = np.arange(int(seconds * rate)) / rate
    low, high = np.sort(random.uniform(200, 3_000, 2))
    if kind == "tone":
        sound = np.sin(2 * np.pi * low * time)
    elif kind == "chirp":
        sound = np.sin(2 * np.pi * (low + (high + 500 - low) * time / seconds / 2) * time)
    else:
        sound = random.normal(0, 0.5, len(time))
        sound = np.convolve(sound, np.ones(int(random.integers(1, 6))), "same")
    sound = sound / np.abs(sound).max() * random.uniform(0.2, 0.8)
    return (sound + random.normal(0, grain, len(time))).clip(-1, 1).astype(np.float32)


def as_bytes(samples: npt.NDArray[Any], form: str = "WAV", coding: str | None = None, rate: int = RATE) -> bytes:
    """The file of samples (n,) or (n, channels)."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=coding)
    return buffer.getvalue()


def wav(number: int) -> bytes:
    """The file of the recording of a number."""
    return as_bytes(make(number))


def read(content: bytes) -> tuple[Samples, int]:
    """The samples and the sample rate of a file."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    return samples, rate
