"""Small copies of recordings."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.drawn_images import png
from support.made_recordings import as_bytes, make, read, wav

from connector.media.failures import TOO_LARGE, UNREADABLE, Unusable
from connector.media.limits import Limits
from connector.media.recordings import RECORDINGS, SAMPLE_RATE, SECONDS, samples_of, small_copy

# A file of each kind that browsers play: its format, its coding, its sample rate, and how near a copy comes.
PLAYED = {
    "wav": ("WAV", "PCM_16", 44_100, 0.01),
    "wav of 8 bits": ("WAV", "PCM_U8", 8_000, 0.02),
    "wav of 24 bits": ("WAVEX", "PCM_24", 48_000, 0.01),
    "wav of floats": ("WAV", "FLOAT", 22_050, 0.01),
    "wav of telephones": ("WAV", "ULAW", 8_000, 0.03),
    "flac": ("FLAC", "PCM_16", 44_100, 0.01),
    "ogg": ("OGG", "VORBIS", 44_100, 0.1),
    "opus": ("OGG", "OPUS", 48_000, 0.1),
    "mp3": ("MP3", "MPEG_LAYER_III", 44_100, 0.1),
}


def tone(seconds: float = 1.0, rate: int = SAMPLE_RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def header(count: int, channels: int = 1, rate: int = SAMPLE_RATE, *, bits: int = 16, form: int = 1) -> bytes:
    """The header of a WAV file of these bare numbers, however little is behind it. `form`: 1 are integers, 3 floats."""
    size, frame = count * channels * bits // 8, channels * bits // 8
    numbers = (36 + size & 0xFFFFFFFF, b"WAVE", b"fmt ", 16, form, channels, rate, rate * frame & 0xFFFFFFFF, frame)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", *numbers, bits, b"data", size & 0xFFFFFFFF)


def refusal(original: bytes, limits: Limits | None = None) -> Unusable:
    with pytest.raises(Unusable) as refused:
        small_copy(original, limits or Limits())
    return refused.value


@pytest.mark.parametrize("name", PLAYED)
def test_what_browsers_play_is_read(name: str) -> None:
    form, coding, rate, near = PLAYED[name]
    copy = small_copy(as_bytes(tone(2.0, rate), form, coding, rate))
    info = soundfile.info(io.BytesIO(copy))
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", SAMPLE_RATE, 1)
    samples, expected = samples_of(copy), tone(2.0)
    assert abs(len(samples) - len(expected)) <= 0.1 * SAMPLE_RATE
    # Some encoders begin with a pause.
    spectrum = np.abs(np.fft.rfft(samples[1600:17_600]))
    assert spectrum.argmax() == 440
    assert abs(np.abs(samples[4_000:12_000]).max() - 0.5) < near


def test_a_copy_is_the_mean_of_the_channels() -> None:
    left = tone()
    stereo = np.stack([left, np.zeros_like(left)], axis=1)
    np.testing.assert_allclose(samples_of(small_copy(as_bytes(stereo))), left / 2, atol=1e-3)


def test_a_copy_is_the_beginning() -> None:
    long = np.concatenate([tone(SECONDS, 8_000), np.zeros(8_000 * 5, np.float32)])
    samples = samples_of(small_copy(as_bytes(long, rate=8_000)))
    assert len(samples) == SECONDS * SAMPLE_RATE
    assert np.abs(samples[-SAMPLE_RATE:-100]).max() > 0.4


def test_a_copy_of_a_copy_is_the_same() -> None:
    copy = small_copy(as_bytes(make(3, rate=44_100), rate=44_100))
    assert small_copy(copy) == copy == small_copy(as_bytes(make(3, rate=44_100), rate=44_100))


def test_a_higher_pitch_than_16_khz_has_is_not_folded_down() -> None:
    samples = samples_of(small_copy(as_bytes(tone(1.0, 48_000, 15_000.0), rate=48_000)))
    assert np.abs(samples[1_000:-1_000]).max() < 0.01


@pytest.mark.parametrize("rate", [1_001, 11_025, 44_099, 96_000, 191_999])
def test_odd_sample_rates_keep_length_and_pitch(rate: int) -> None:
    samples = samples_of(small_copy(as_bytes(tone(2.0, rate, 200.0), rate=rate)))
    assert abs(len(samples) - 2 * SAMPLE_RATE) <= 20
    assert np.abs(np.fft.rfft(samples[:SAMPLE_RATE])).argmax() == 200


def test_sums_of_channels_beyond_the_range_are_cut() -> None:
    loud = as_bytes(np.full(1_000, 7.5, np.float32), coding="FLOAT")
    assert samples_of(small_copy(loud)).max() <= 1.0
    assert samples_of(small_copy(loud)).min() > 0.9


def test_silence_and_a_single_sample_are_recordings() -> None:
    assert not samples_of(small_copy(as_bytes(np.zeros(500, np.float32)))).any()
    assert len(samples_of(small_copy(as_bytes(np.zeros(1, np.float32))))) == 1


def test_a_picture_of_the_cover_is_skipped() -> None:
    mp3 = as_bytes(tone(2.0, 44_100), "MP3", rate=44_100)
    picture = b"APIC" + png(1)
    size = len(picture)
    tag = b"ID3\x04\x00\x00" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127]) + picture
    assert small_copy(tag + bytes(40) + mp3) == small_copy(mp3)
    assert refusal(tag + b"<html>").problem == "is no recording that can be read: it is an HTML page"


@pytest.mark.parametrize(
    ("original", "problem"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "is no recording that can be read: it is an HTML page"),
        (b'{"detail": "Not found."}', "is no recording that can be read: it is JSON"),
        (b"Not found", "is no recording that can be read: it is a text"),
        (png(1), "is no recording that can be read: it is an image"),
        (b"\0\0\0\x20ftypM4A ", "it is AAC (m4a) or a film, which the connector does not read"),
        (b"\xff\xf1\x50\x80", "it is AAC (m4a) or a film, which the connector does not read"),
        (b"\x1aE\xdf\xa3\x9fB\x86", "it is WebM or Matroska, which the connector does not read"),
        (as_bytes(tone(), "AIFF"), "it is AIFF, which most browsers do not play"),
        (b"MThd\0\0\0\6", "it is MIDI, which has no sound in it"),
        (bytes(100), "is no recording that can be read"),
        (as_bytes(tone(), "AU"), "is no recording that can be read"),
        (as_bytes(tone(), "WAV", "IMA_ADPCM"), "is WAV with IMA_ADPCM, which browsers do not play"),
    ],
)
def test_what_is_no_recording_is_named(original: bytes, problem: str) -> None:
    refused = refusal(original)
    assert refused.cause == UNREADABLE
    assert refused.problem.endswith(problem)


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
@pytest.mark.parametrize("share", [0, 0.5])
def test_what_is_cut_off_is_read_as_far_as_it_goes_or_refused(form: str, share: float) -> None:
    original = as_bytes(tone(3.0), form)
    cut = original[: int(share * len(original)) or 40]  # at least a part of the header
    if form in ("WAV", "MP3") and share == 0.5:
        assert 1.0 < len(samples_of(small_copy(cut))) / SAMPLE_RATE < 2.0
    else:
        refused = refusal(cut)
        assert refused.cause == UNREADABLE
        assert "cut off" in refused.problem


def test_a_header_of_ten_hours_costs_nothing() -> None:
    hours = header(10 * 3_600 * SAMPLE_RATE)
    tracemalloc.start()
    try:
        assert len(samples_of(small_copy(hours + as_bytes(tone())[44:]))) == SAMPLE_RATE
        assert refusal(hours).problem == "is a recording without any samples, or is cut off"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_many_channels_are_read_in_blocks() -> None:
    limits = Limits()
    content = header(400_000, limits.channels) + bytes(400_000 * limits.channels * 2)
    tracemalloc.start()
    try:
        assert len(samples_of(small_copy(content))) == 400_000
        assert tracemalloc.get_traced_memory()[1] < len(content) + 25_000_000
    finally:
        tracemalloc.stop()


def test_what_is_too_large_or_impossible_is_refused() -> None:
    thousand = refusal(header(10, 1_000) + bytes(20_000))
    assert (thousand.cause, thousand.problem) == (TOO_LARGE, "has 1,000 channels, where 32 are allowed")
    assert refusal(header(10, 0) + bytes(20)).problem == "is a recording that is damaged or cut off"
    assert refusal(header(10, rate=0) + bytes(20)).problem == "is a recording that is damaged or cut off"
    for rate in (999, 192_001, 2**31 - 1):
        refused = refusal(header(10, rate=rate) + bytes(20))
        assert refused.cause == UNREADABLE
        assert refused.problem == f"has {rate:,} samples per second, where 1,000 to 192,000 are allowed"
    assert refusal(header(0)).problem == "is a recording without any samples, or is cut off"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_samples_that_are_no_numbers_are_refused(value: float) -> None:
    floats = np.zeros(1_000, np.float32)
    floats[500] = value
    refused = refusal(header(1_000, bits=32, form=3) + floats.tobytes())
    assert (refused.cause, refused.problem) == (UNREADABLE, "is a recording with samples that are no numbers")


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_damaged_files_are_read_or_refused(form: str) -> None:
    random = np.random.default_rng(1)
    original, causes = as_bytes(make(4), form), set[str]()
    for _ in range(40):
        damaged = bytearray(original)
        for place in random.integers(0, len(damaged), 20):
            damaged[place] = random.integers(0, 256)
        try:
            samples, rate = read(small_copy(bytes(damaged)))
        except Unusable as refused:
            causes.add(refused.cause)
        else:
            assert rate == SAMPLE_RATE
            assert np.isfinite(samples).all()
    assert causes <= {UNREADABLE, TOO_LARGE}


def test_several_parts_are_one_recording() -> None:
    parts = [RECORDINGS.part(wav(number), Limits()) for number in (0, 1)]
    assert len(samples_of(RECORDINGS.whole(parts))) == sum(map(len, parts))


def test_without_soundfile_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "soundfile.py").write_text("raise ImportError('not here')")
    code = "from connector.media.recordings import check; check()"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "UsageError" in run.stderr
    assert "pip install 'label-studio-activelab[audio]'" in run.stderr
