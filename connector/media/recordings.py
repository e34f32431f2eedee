"""Small copies of recordings of sound, by libsndfile, which is loaded when the first recording is read.

An original is judged by its bytes, never by its name or its type in a header. It is read in blocks, and only its
beginning, so that neither its length nor what its header claims costs memory. A copy has no metadata.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from connector.errors import UsageError
from connector.media.failures import TOO_LARGE, UNREADABLE, Unusable
from connector.media.limits import DEFAULT_LIMITS, Kind, Limits
from connector.media.looks import look

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 16_000  # Hz of a copy: what encoders of speech and of sounds were trained with
SECONDS = 30  # of a copy, at most: the beginning

_BLOCK = 1 << 20  # samples of all channels that are decoded at a time
# What browsers play, by libsndfile's names: the coding within each kind of file.
_CODINGS = {
    "WAV": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    "WAVEX": ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"),
    "FLAC": ("PCM_S8", "PCM_16", "PCM_24"),
    "OGG": ("VORBIS", "OPUS"),
    "MP3": ("MPEG_LAYER_III",),
}
_TAGS = 4  # ID3 tags that may be before an MP3
# Sample rates are in a simple ratio to 16 kHz, or are taken for one that is: a filter for the exact ratio may be huge.
_LARGEST_DIVISOR = 1_000

# How other things begin that are taken for recordings.
_LOOKS = (
    (rb"....ftyp|\xff[\xf0\xf1\xf8\xf9]", "AAC (m4a) or a film, which the connector does not read"),
    (rb"\x1aE\xdf\xa3", "WebM or Matroska, which the connector does not read"),
    (rb"FORM....AIF", "AIFF, which most browsers do not play"),
    (rb"caff", "CAF, which most browsers do not play"),
    (rb"#!AMR", "AMR, which browsers do not play"),
    (rb"0&\xb2u", "WMA, which browsers do not play"),
    (rb"MThd", "MIDI, which has no sound in it"),
    (rb"\x89PNG|\xff\xd8|GIF8|RIFF....WEBP", "an image"),
)


def check() -> None:
    """Raises UsageError if soundfile is not installed, or does not find libsndfile."""
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:
        raise UsageError(
            "To read recordings, install soundfile: pip install 'label-studio-activelab[audio]'."
        ) from error


def small_copy(original: bytes, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The small copy of a recording: FLAC, mono, 16 kHz, 16 bits. The same original gives the same bytes.

    Raises:
        UsageError: soundfile is not installed.
        Unusable: It is no recording, or too large.
    """
    check()
    return join([small_part(original, limits)])


def small_part(original: bytes, limits: Limits = DEFAULT_LIMITS) -> Samples:
    """The first SECONDS of a recording, float32 (n,) from -1 to 1, at SAMPLE_RATE. Raises Unusable."""
    if not original:
        raise Unusable(UNREADABLE, "is empty")
    content = _without_tags(original)
    if not _is_known(content):
        raise Unusable(UNREADABLE, f"is no recording that can be read{look(content, _LOOKS)}")
    try:
        samples, rate = _beginning(content, limits)
    except Unusable:
        raise
    except Exception as error:  # libsndfile's errors of damaged files are of several types
        raise Unusable(UNREADABLE, "is a recording that is damaged or cut off") from error
    if not len(samples):
        raise Unusable(UNREADABLE, "is a recording without any samples, or is cut off")
    if not np.isfinite(samples).all():
        raise Unusable(UNREADABLE, "is a recording with samples that are no numbers")
    return np.clip(_resampled(samples, rate), -1, 1)[: SECONDS * SAMPLE_RATE]


def join(parts: Sequence[Samples]) -> bytes:
    """The small copy with these parts, one after the other."""
    import soundfile

    samples = np.concatenate(parts)[: SECONDS * SAMPLE_RATE]
    whole = np.rint(samples * 32_768).clip(-32_768, 32_767).astype(np.int16)  # as libsndfile reads them again
    buffer = io.BytesIO()
    soundfile.write(buffer, whole, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def samples_of(copy: bytes) -> Samples:
    """The samples of a small copy, float32 (n,) from -1 to 1."""
    check()
    import soundfile

    samples: Samples
    samples, _ = soundfile.read(io.BytesIO(copy), dtype="float32")
    return samples


def _without_tags(original: bytes) -> bytes:
    """The recording without the ID3 tags before it, in which cover pictures are."""
    content = original
    for _ in range(_TAGS):
        if content[:3] != b"ID3" or len(content) < 10:
            break
        size = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(reversed(content[6:10])))
        content = content[10 + size :].lstrip(b"\0")
    return content


def _is_known(content: bytes) -> bool:
    """Whether a file begins as one that browsers play. So libsndfile's decoders of other kinds are never reached."""
    is_mp3 = len(content) > 1 and content[0] == 0xFF and content[1] & 0xE6 == 0xE2
    return is_mp3 or content.startswith((b"fLaC", b"OggS")) or (content[:4] == b"RIFF" and content[8:12] == b"WAVE")


def _beginning(content: bytes, limits: Limits) -> tuple[Samples, int]:
    """The mean of all channels of the first SECONDS, and its sample rate. Raises Unusable, and errors of libsndfile."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(content)) as file:
        if file.subtype not in _CODINGS.get(file.format, ()):
            raise Unusable(UNREADABLE, f"is {file.format} with {file.subtype}, which browsers do not play")
        if file.channels > limits.channels:
            raise Unusable(TOO_LARGE, f"has {file.channels:,} channels, where {limits.channels} are allowed")
        least, most = limits.sample_rates
        if not least <= file.samplerate <= most:
            allowed = f"{least:,} to {most:,} are allowed"
            raise Unusable(UNREADABLE, f"has {file.samplerate:,} samples per second, where {allowed}")
        blocks = list(_mono(file, SECONDS * file.samplerate))
        return (np.concatenate(blocks) if blocks else np.zeros(0, np.float32)), file.samplerate


def _mono(file: Any, count: int) -> Iterator[Samples]:
    """The first `count` samples, a block at a time, as the mean of all channels."""
    while count > 0:
        block = file.read(min(count, _BLOCK // file.channels), dtype="float32", always_2d=True)
        if not len(block):
            return
        count -= len(block)
        yield block.mean(axis=1, dtype=np.float32)


def _resampled(samples: Samples, rate: int) -> Samples:
    """The samples at SAMPLE_RATE."""
    from scipy.signal import resample_poly

    ratio = Fraction(SAMPLE_RATE, rate).limit_denominator(_LARGEST_DIVISOR)
    if ratio == 1:
        return samples
    resampled: Samples = resample_poly(samples, ratio.numerator, ratio.denominator).astype(np.float32, copy=False)
    return resampled


RECORDINGS = Kind("recording", check, small_part, join)
