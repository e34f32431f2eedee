"""How many items a device takes at a time. That it ran out of memory is feigned: a CPU has no memory of its own."""

import pytest

from ml_backend.features import device


@pytest.fixture(autouse=True)
def _as_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_fits", {})


def test_after_it_ran_out_of_memory_batches_are_smaller_from_then_on() -> None:
    tried: list[int] = []

    def embed(size: int) -> int:
        tried.append(size)
        if size > 100:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return size

    assert [device.compute("cuda", embed) for _ in range(2)] == [64, 64]
    assert tried == [256, 128, 64, 64]
    assert device.chunk_size("cuda") == 256
    assert device.batch_size("cpu") == 16


def test_images_have_batches_of_their_own() -> None:
    def embed(size: int) -> int:
        if size > 20:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return size

    assert device.batch_size("cpu", "images") == 4
    assert device.compute("cuda", embed, "images") == 16
    assert device.chunk_size("cuda", "images") == 64
    assert device.batch_size("cuda") == 256, "those of texts stay"


def test_other_errors_and_a_text_that_does_not_fit_are_raised() -> None:
    def fail(size: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        device.compute("cuda", fail)
    assert device.batch_size("cuda") == 256

    def fill(size: int) -> None:
        raise RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB).")

    with pytest.raises(RuntimeError, match="out of memory"):
        device.compute("mps", fill)
    assert device.batch_size("mps") == 1
