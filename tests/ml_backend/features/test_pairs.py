"""Features of two texts in one."""

from pathlib import Path
from threading import Lock

import numpy as np
import pytest
from support import tiny_encoder

from ml_backend.features import tfidf
from ml_backend.features.encoder import Encoder, encode
from ml_backend.features.finetune import Schedule, finetune
from ml_backend.features.pairs import SEPARATOR, cut, difference
from ml_backend.labeling.form.data import PAIR_SEPARATOR

LEFT, RIGHT = "Would you please look at this?", "Stop it."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder(str(tiny_encoder.build(tmp_path_factory.mktemp("pairs") / "tiny")))


def pair(left: str, right: str) -> str:
    return f"{left}{SEPARATOR}{right}"


def test_the_separator_is_the_one_that_contents_are_sent_with() -> None:
    assert SEPARATOR == PAIR_SEPARATOR


def test_an_embedding_of_a_pair_is_the_difference_of_its_sides(tiny: Encoder) -> None:
    left, right, swapped, both = tiny.encode([LEFT, RIGHT, pair(RIGHT, LEFT), pair(LEFT, RIGHT)])
    np.testing.assert_allclose(both, left - right, atol=1e-6)
    np.testing.assert_allclose(swapped, -both, atol=1e-6)
    np.testing.assert_allclose(tiny.encode([pair(LEFT, RIGHT)])[0], both, atol=1e-6)
    np.testing.assert_allclose(tiny.encode([pair(LEFT, LEFT)])[0], 0, atol=1e-6)


def test_terms_of_a_pair_are_the_difference_of_its_sides(tmp_path: Path) -> None:
    texts = [pair("one text", "another text"), pair("and one more", "one")]
    fitted = tfidf.fit(texts, 4, 2, tmp_path)
    left, right, both = fitted.transform(["one text", "another text", texts[0]])
    assert np.abs(both).max() > 0.1
    np.testing.assert_allclose(both, left - right, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(texts)[0], both, atol=1e-6)


def test_pairs_and_texts_in_one_call_keep_their_order() -> None:
    def lengths(texts: list[str]) -> np.ndarray:
        return np.array([[float(len(text))] for text in texts])

    texts = ["abc", pair("abcd", "a"), "", pair("", "ab")]
    assert difference(lengths, texts).tolist() == [[3], [3], [0], [-2]]


def test_each_side_is_cut_to_what_models_read() -> None:
    long = "x" * 30_000
    assert cut(pair(long, "right")) == pair("x" * 20_000, "right")
    assert cut(pair("left", long)) == pair("left", "x" * 20_000)
    assert cut(long) == "x" * 20_000


def test_an_encoder_is_fine_tuned_on_pairs(tiny: Encoder) -> None:
    texts = [pair(f"good {n}", f"bad {n}") for n in range(8)] + [pair(f"bad {n}", f"good {n}") for n in range(8)]
    labels = np.repeat([0, 1], 8)
    schedule = Schedule(steps=60, learning_rate=1e-2, batch_size=8, max_length=16)
    trained = finetune(
        tiny.trainable(tiny.copy(), schedule.max_length),
        texts,
        labels,
        2,
        np.ones(16),
        schedule,
        0,
        lambda step, steps: None,
    )
    new = [pair("good 77", "bad 78"), pair("bad 77", "good 78")]
    embedded = encode(tiny.copy(trained), Lock(), [*texts, *new])
    centre = embedded[:8].mean(axis=0) - embedded[8:16].mean(axis=0)
    first, second = embedded[16:] @ centre
    assert first > 0 > second
