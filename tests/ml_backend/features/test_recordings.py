"""Recordings as bytes: what can be used, and the windows that models get."""

import struct
import tracemalloc

import numpy as np
import pytest
from support.made_recordings import as_bytes, make

from connector.media.recordings import small_copy
from ml_backend.features.data_uri import medium_in
from ml_backend.features.recordings import MAX_SECONDS, SAMPLE_RATE, check_recording, windows


@pytest.mark.parametrize(
    ("form", "coding", "rate"),
    [("FLAC", "PCM_16", 16_000), ("WAV", "PCM_16", 44_100), ("WAV", "FLOAT", 8_000), ("FLAC", "PCM_24", 48_000)],
)
def test_flac_and_wav_are_used(form: str, coding: str, rate: int) -> None:
    content = as_bytes(make(1, seconds=2.0, rate=rate), form, coding, rate)
    assert check_recording(content) == ""
    (window,) = windows(content)
    assert window.dtype == np.float32
    assert abs(len(window) - 2 * SAMPLE_RATE) < 20


def test_the_copies_of_the_connector_are_used_as_they_are() -> None:
    copy = small_copy(as_bytes(make(2, rate=44_100), "OGG", rate=44_100))
    assert check_recording(copy) == ""
    assert abs(sum(map(len, windows(copy))) - len(make(2))) <= 1


@pytest.mark.parametrize(("seconds", "count"), [(0.01, 1), (10.0, 1), (10.1, 2), (29.0, 3), (100.0, 3)])
def test_windows_are_equally_long(seconds: float, count: int) -> None:
    content = as_bytes(np.full(int(seconds * 8_000), 0.5, np.float32), rate=8_000)
    found = list(windows(content))
    assert len(found) == count
    assert max(map(len, found)) - min(map(len, found)) <= 1
    assert sum(map(len, found)) == max(int(min(seconds, MAX_SECONDS) * SAMPLE_RATE), SAMPLE_RATE // 10)


def header(count: int, channels: int = 1, rate: int = SAMPLE_RATE, *, bits: int = 16, form: int = 1) -> bytes:
    size, frame = count * channels * bits // 8, channels * bits // 8
    numbers = (36 + size & 0xFFFFFFFF, b"WAVE", b"fmt ", 16, form, channels, rate, rate * frame & 0xFFFFFFFF, frame)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", *numbers, bits, b"data", size & 0xFFFFFFFF)


NO_SUCH = "it is not a FLAC or WAV recording, or it is damaged"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", NO_SUCH),
        (b"<html>", NO_SUCH),
        (as_bytes(make(1), "MP3"), NO_SUCH),
        (as_bytes(make(1), "AIFF"), NO_SUCH),
        (as_bytes(make(1), "FLAC")[:400], NO_SUCH),
        (as_bytes(make(1), "WAV", "IMA_ADPCM"), NO_SUCH),
        (header(10, 1_000) + bytes(20_000), NO_SUCH),
        (header(10, rate=2**31 - 1) + bytes(20), NO_SUCH),
        (header(0), "it has no samples"),
        (header(36_000 * SAMPLE_RATE), "it has no samples"),
        (header(9, bits=32, form=3) + np.full(9, np.nan, "<f4").tobytes(), "it has samples that are no numbers"),
    ],
)
def test_what_cannot_be_used_is_named(content: bytes, problem: str) -> None:
    assert check_recording(content) == problem


def test_only_the_beginning_is_decoded() -> None:
    content = as_bytes(np.zeros((SAMPLE_RATE * 600, 2), np.int16))
    tracemalloc.start()
    try:
        assert check_recording(content) == ""
        assert tracemalloc.get_traced_memory()[1] < len(content) + 20_000_000
    finally:
        tracemalloc.stop()


def test_a_recording_in_its_address_is_found() -> None:
    import base64

    inside = base64.b64encode(as_bytes(make(1))).decode()
    assert medium_in(f"data:audio/wav;base64,{inside}", "audio") == as_bytes(make(1))
    assert medium_in(f"DATA:audio/x-wav;charset=x;base64,{inside}", "audio") == as_bytes(make(1))
    for other in (f"data:image/png;base64,{inside}", f"data:audio/wav,{inside}", "/data/upload/1/a.wav"):
        assert medium_in(other, "audio") is None
    assert medium_in("data:audio/wav;base64,!!", "audio") is None
    assert medium_in("data:audio/wav;base64,AAAA", "audio") is None
