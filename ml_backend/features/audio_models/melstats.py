"""Features of recordings without weights: how strong each band of frequencies is, and how it varies.

The power in 64 bands that are equally wide in mel (Stevens, Volkmann and Newman, 1937), every 10 ms, in bels. Over
time: the mean of each band relative to all bands, which no volume changes, the deviation, and the mean absolute changes
within 40 ms and 200 ms. So a steady sound, a rhythm and a glide differ, though their bands may be equally strong. And,
whatever their bands are, how unequal the bands are at a time: a tone has one strong band, noise has none.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from ml_backend.features.media_encoder import Matrix
from ml_backend.features.recordings import SAMPLE_RATE, WINDOW_SECONDS, Samples

NAME = "melstats"
_BANDS = 64
_RANGE = (50.0, 7_600.0)  # Hz
_FRAME, _HOP, _FFT = 400, 160, 512  # samples: 25 ms, 10 ms
_DYNAMICS = 6.0  # bels below the loudest band that still count
_SILENCE = 5.0  # bels below the loudest frame. Such frames at the start and the end are left out
_STEPS = (4, 20)  # frames between which changes are measured
_RANKS = 16  # groups of bands, from the strongest to the weakest at a time
# What makes each statistic about as long as the others: the value in steady noise, and a typical distance from it.
_NOISE_DEVIATION, _NOISE_CHANGE = 0.4, 0.45  # bels
_SCALES = (1.0, 0.5, 0.5, 0.5)


class MelStats:
    """Bands of frequencies over time, as unit vectors."""

    chunk_size = 64
    threads = 1  # it is Python for the most part

    def __init__(self) -> None:
        details = (_BANDS, _RANGE, _FRAME, _HOP, _FFT, _DYNAMICS, _SILENCE, _STEPS, _RANKS, _SCALES)
        of_all = repr((NAME, WINDOW_SECONDS, *details, _NOISE_DEVIATION, _NOISE_CHANGE))
        self.fingerprint = hashlib.blake2b(of_all.encode(), digest_size=16).hexdigest()

    def prepare(self, parts: Sequence[Samples]) -> Matrix:
        """Vectors of length 1, float32 (n, d)."""
        return np.stack([_statistics(_bels(part)) for part in parts]).astype(np.float32)

    def vectors(self, prepared: Matrix) -> Matrix:
        """The same."""
        return prepared


def _bels(samples: Samples) -> npt.NDArray[np.float64]:
    """The power of each band, (frames, bands), at most _DYNAMICS below the largest, without silence around."""
    padded = np.pad(samples, (0, max(0, _FRAME - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(_FRAME).astype(np.float32), _FFT)) ** 2
    loudness = np.log10(power.sum(1) + 1e-10)
    sounding = np.flatnonzero(loudness > loudness.max() - _SILENCE)
    bands = np.log10(power[sounding[0] : sounding[-1] + 1] @ _filters() + 1e-10)
    return np.asarray(np.maximum(bands, bands.max() - _DYNAMICS), np.float64)


def _statistics(bels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One vector of length 1 for all frames."""
    mean = bels.mean(0)
    changes = [_change(bels, step) - _NOISE_CHANGE for step in _STEPS]
    ranks = np.sort(bels - bels.mean(1, keepdims=True), axis=1).mean(0).reshape(_RANKS, -1).mean(1)
    of_shape, of_deviation, of_change, of_ranks = _SCALES
    vector = np.concatenate(
        [
            (mean - mean.mean()) / of_shape,
            (bels.std(0) - _NOISE_DEVIATION) / of_deviation,
            *(change / of_change for change in changes),
            ranks / of_ranks,
        ]
    )
    unit: npt.NDArray[np.float64] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return unit


def _change(bels: npt.NDArray[np.float64], step: int) -> npt.NDArray[np.float64]:
    """How far each band changes within `step` frames, as a mean. A shorter recording does not change."""
    if len(bels) <= step:
        return np.zeros(bels.shape[1])
    change: npt.NDArray[np.float64] = np.abs(bels[step:] - bels[:-step]).mean(0)
    return change


@cache
def _filters() -> npt.NDArray[np.float32]:
    """The weight of each frequency in each band, (frequencies, bands): triangles, whose sum is 1 in each band."""
    least, most = (2_595 * np.log10(1 + frequency / 700) for frequency in _RANGE)
    edges = 700 * (10 ** (np.linspace(least, most, _BANDS + 2) / 2_595) - 1)
    frequencies = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    weights = np.clip(np.minimum(rising, falling), 0, None)
    # The lowest bands are narrower than the distance of two frequencies: such a band has the nearest one.
    empty = weights.sum(0) == 0
    nearest = np.abs(frequencies - edges[1:-1]).argmin(0)
    weights[nearest[empty], np.flatnonzero(empty)] = 1
    return np.asarray(weights / weights.sum(0), np.float32)
