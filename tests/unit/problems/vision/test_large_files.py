"""Large files are unpacked without taking many times their pixels, and say what small ones say."""

import tracemalloc

import numpy as np
import PIL.Image

from serving.contract import Image
from serving.contract.images import _upright
from tests.unit.problems.vision.shapes import png

LINES = np.arange(150 * 70, dtype=np.int64).reshape(150, 70)


def test_files_of_many_strips_are_converted_like_whole_ones() -> None:
    grey, colour = Image("image", 150, 70, 1), Image("image", 150, 70, 3)
    deep = (LINES * 6 % 65536).astype(np.uint16)
    assert (grey.encode([png(deep)])[0, :, :, 0] == deep // 257).all()
    clear = np.stack([LINES % 256, LINES // 3 % 256, LINES % 7, LINES // 5 % 256], axis=2).astype(np.uint8)
    whole = PIL.Image.new("RGBA", (70, 150), "white")
    whole.alpha_composite(PIL.Image.fromarray(clear))
    assert (colour.encode([png(clear)])[0] == np.asarray(whole.convert("RGB"))).all()
    assert (grey.encode([png(clear)])[0, :, :, 0] == np.asarray(whole.convert("RGB").convert("L"))).all()


def test_sixteen_bits_take_no_array_of_the_whole_file() -> None:
    content, field = png(np.zeros((1500, 1500), np.uint16)), Image("image", 8, 8, 1, "stretch")
    tracemalloc.start()
    field.encode([content])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1500 * 1500


def test_an_upright_image_is_not_copied() -> None:
    image = PIL.Image.fromarray(np.zeros((4, 4), np.uint8))
    assert _upright(image) is image
