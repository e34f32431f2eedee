"""Recordings of sound as bytes: whether they can be used, and their samples."""

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO

import numpy as np
import numpy.typing as npt

from ml_backend.errors import EncoderUnavailable

Samples = npt.NDArray[np.float32]

INSTALL_LIBRARIES = "Install the library for recordings: pip install 'label-studio-activelab[audio]'."
SAMPLE_RATE = 16_000  # Hz, at which encoders get samples. The connector's copies have it
MAX_SECONDS = 30  # that are read: the beginning
WINDOW_SECONDS = 10.0  # of a part, at most: what AST and CLAP were trained with
MAX_CHANNELS = 32
SAMPLE_RATES = (1_000, 192_000)  # Hz, the least and the most
_SHORTEST = SAMPLE_RATE // 10  # samples of a part: shorter ones get silence at their end, or networks have no frame
_BLOCK = 1 << 20  # samples of all channels that are decoded at a time
_CODINGS = ("PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_LARGEST_DIVISOR = 1_000


def check_recording(content: bytes) -> str:
    """Why `encode` cannot use a recording, as the end of a sentence, or "" if it can.

    Decodes it. The work is bounded, because only the beginning is read. Raises EncoderUnavailable without soundfile.
    """
    require_soundfile()
    try:
        samples = _beginning(content)
    except Exception:  # libsndfile's errors of damaged files are of several types
        return "it is not a FLAC or WAV recording, or it is damaged"
    if not len(samples):
        return "it has no samples"
    return "" if np.isfinite(samples).all() else "it has samples that are no numbers"


def windows(content: bytes) -> Iterator[Samples]:
    """The parts of a recording that `check_recording` found usable: float32 (m,), mono, at SAMPLE_RATE.

    They are equally long, at most WINDOW_SECONDS.
    """
    samples = _beginning(content)
    count = -(-len(samples) // round(WINDOW_SECONDS * SAMPLE_RATE))
    for part in np.array_split(samples, count):
        yield np.pad(part, (0, max(0, _SHORTEST - len(part))))


def resample(samples: Samples, rate: int, to: int) -> Samples:
    """Samples at another rate, in Hz."""
    from scipy.signal import resample_poly

    ratio = Fraction(to, rate).limit_denominator(_LARGEST_DIVISOR)
    if ratio == 1:
        return samples
    return np.asarray(resample_poly(samples, ratio.numerator, ratio.denominator), np.float32)


def require_soundfile() -> None:
    """Raise EncoderUnavailable if soundfile is not installed, or does not find libsndfile."""
    try:
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:
        raise EncoderUnavailable(f"soundfile is not installed. {INSTALL_LIBRARIES}") from error


def _beginning(content: bytes) -> Samples:
    """The first MAX_SECONDS. Raises ValueError if it is no FLAC or WAV, and errors of libsndfile."""
    import soundfile

    # libsndfile has decoders of many more kinds. They are never reached.
    if not content.startswith(b"fLaC") and not (content[:4] == b"RIFF" and content[8:12] == b"WAVE"):
        raise ValueError("The content is no FLAC and no WAV.")
    blocks: list[Samples] = []
    with soundfile.SoundFile(BytesIO(content)) as file:
        least, most = SAMPLE_RATES
        if file.subtype not in _CODINGS or file.channels > MAX_CHANNELS or not least <= file.samplerate <= most:
            raise ValueError("The content has another coding, too many channels, or an odd sample rate.")
        left = MAX_SECONDS * file.samplerate
        while left and len(block := file.read(min(left, _BLOCK // file.channels), dtype="float32", always_2d=True)):
            left -= len(block)
            blocks.append(block.mean(axis=1, dtype=np.float32))
        rate = file.samplerate
    samples = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    return np.clip(resample(samples, rate, SAMPLE_RATE), -1, 1) if len(samples) else samples
