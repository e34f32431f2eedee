"""The waveform of a recording, as a small drawing."""

from __future__ import annotations

import numpy as np

from connector.media.recordings import samples_of

_WIDTH, _HEIGHT = 192, 64
_COLUMNS = 64  # strokes
_COLOUR = "#7a8594"  # at least 3:1 on both backgrounds of a report


def waveform(copy: bytes) -> bytes:
    """The waveform of a small copy, as SVG: a stroke per 64th of its length, the loudest as high as the drawing."""
    samples = np.abs(samples_of(copy))
    peaks = np.array([part.max(initial=0) for part in np.array_split(samples, _COLUMNS)])
    heights = np.maximum(peaks / max(float(peaks.max()), 1e-6), 0.02) * (_HEIGHT / 2 - 2)
    step, middle = _WIDTH / _COLUMNS, _HEIGHT // 2
    strokes = "".join(
        f"M{(place + 0.5) * step:g} {middle - height:.1f}V{middle + height:.1f}" for place, height in enumerate(heights)
    )
    size = f'width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    path = f'<path d="{strokes}" stroke="{_COLOUR}" stroke-width="2"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{path}</svg>'.encode()
