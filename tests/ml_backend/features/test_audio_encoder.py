"""The audio encoder: one face for all kinds of models."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import ROOT
from support.made_recordings import as_bytes, make
from support.tiny_audio_models import KINDS, build

from ml_backend.errors import EncoderUnavailable
from ml_backend.features import device
from ml_backend.features.audio_encoder import AudioEncoder
from ml_backend.features.recordings import SAMPLE_RATE

CONTENTS = [
    as_bytes(make(0)),
    as_bytes(make(1, rate=44_100), "FLAC", rate=44_100),
    as_bytes(make(2, seconds=23.0)),
    as_bytes(np.stack([make(4), make(4)], axis=1)),
    as_bytes(make(0)),
    as_bytes(make(5)[:50]),
    as_bytes(np.zeros(SAMPLE_RATE, np.float32)),
]

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny_audio_encoders")
    return {kind: build(root / kind, kind) for kind in KINDS}


@pytest.fixture(params=["melstats", *KINDS])
def name(request: pytest.FixtureRequest, folders: dict[str, Path]) -> str:
    """Each kind of encoder, without the hub."""
    return str(folders.get(request.param, request.param))


def test_embeddings_are_in_order_and_the_same_in_any_batches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = AudioEncoder(name)
    together = encoder.encode(CONTENTS)
    assert together.dtype == np.float32
    assert together.shape[0] == len(CONTENTS)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together[0], together[4], atol=1e-6)
    assert np.abs(together[0] - together[1]).max() > 1e-3
    monkeypatch.setitem(device._ON_CPU, "recordings", 3)
    for place, content in enumerate(CONTENTS):
        np.testing.assert_allclose(encoder.encode([content])[0], together[place], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(CONTENTS), together, atol=1e-5)


def test_a_long_recording_has_the_mean_of_its_windows(name: str) -> None:
    encoder = AudioEncoder(name)
    long = make(7, seconds=25.0)
    each = encoder.encode([as_bytes(part) for part in np.array_split(long, 3)])
    np.testing.assert_allclose(encoder.encode([as_bytes(long)])[0], each.mean(0), atol=1e-4)


def test_what_is_behind_the_beginning_does_not_count(name: str) -> None:
    encoder = AudioEncoder(name)
    long = make(7, seconds=32.0)
    whole, beginning = encoder.encode([as_bytes(long), as_bytes(long[: 30 * SAMPLE_RATE])])
    np.testing.assert_allclose(whole, beginning, atol=1e-5)


def test_no_recordings_have_no_embeddings(name: str) -> None:
    assert AudioEncoder(name).encode([]).shape == (0, 0)


def test_each_encoder_has_a_fingerprint_of_its_own(folders: dict[str, Path], tmp_path: Path) -> None:
    other = build(tmp_path / "other", "ast", mean=-3.0)
    names = ["melstats", *map(str, folders.values()), str(other)]
    fingerprints = [AudioEncoder(name).fingerprint for name in names]
    assert len(set(fingerprints)) == len(names)
    assert all(int(fingerprint, 16) and len(fingerprint) == 32 for fingerprint in fingerprints)
    assert fingerprints == [AudioEncoder(name).fingerprint for name in names]


def test_a_call_elsewhere_gives_the_same_embeddings(name: str) -> None:
    encoder = AudioEncoder(name)
    call = encoder.remote_call()
    np.testing.assert_allclose(call.function(*call.arguments, CONTENTS), encoder.encode(CONTENTS), atol=1e-6)


def test_another_encoder_over_there_is_refused(folders: dict[str, Path]) -> None:
    folder = str(folders["ast"])
    fingerprint = AudioEncoder(folder).fingerprint
    assert AudioEncoder.same((folder, 0, fingerprint)).fingerprint == fingerprint
    with pytest.raises(EncoderUnavailable, match="audio encoder 'ast' is another one on a machine of the cluster"):
        AudioEncoder.same((folder, 0, "0" * 32))


@pytest.mark.service
def test_another_process_without_network_and_torchaudio_gives_the_same(name: str, tmp_path: Path) -> None:
    for place, content in enumerate(CONTENTS):
        (tmp_path / f"{place}.sound").write_bytes(content)
    script = f"""
import socket, sys
def refuse(*arguments, **options):
    raise SystemExit("reached for the network")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
import numpy as np
from ml_backend.features import device
from ml_backend.features.audio_encoder import AudioEncoder
device.has_fast_bfloat16 = lambda kind: False
encoder = AudioEncoder({name!r}, threads=1)
contents = [path.read_bytes() for path in sorted(Path({str(tmp_path)!r}).glob("*.sound"))]
np.save({str(tmp_path / "vectors.npy")!r}, encoder.encode(contents))
print(encoder.fingerprint, "torchaudio" in sys.modules, "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    encoder = AudioEncoder(name)
    assert done.stdout.split() == [encoder.fingerprint, "False", str(name != "melstats")]
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), encoder.encode(CONTENTS), atol=1e-5)


def test_a_folder_without_a_model_is_refused_in_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    with caplog.at_level(logging.INFO), pytest.raises(EncoderUnavailable) as refused:
        AudioEncoder(str(folder)).encode(CONTENTS)
    sentence = str(refused.value)
    assert "'nothing' cannot be loaded" in sentence
    assert "hub" in sentence
    assert "ML_BACKEND_AUDIO_ENCODER" in sentence
    assert "melstats" in sentence
    assert str(tmp_path) not in sentence, "callers are not told where it is"
    assert str(folder) in caplog.text


def test_a_hub_that_cannot_be_reached_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable, match="'ast-finetuned' cannot be loaded"):
        AudioEncoder("no-such-owner/ast-finetuned").fingerprint  # noqa: B018


def test_without_soundfile_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(EncoderUnavailable, match=r"soundfile .* pip install 'label-studio-activelab\[audio\]'"):
        AudioEncoder("melstats").fingerprint  # noqa: B018
