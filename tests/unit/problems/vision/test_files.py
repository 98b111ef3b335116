"""Image files as models read them: what is converted, and one line for each that is refused."""

import struct
import sys
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import PIL.Image
import pytest

from serving.contract import Contract, Image, InputError, ServingError
from tests.unit.problems.vision.shapes import png

GREY = Image("image", 4, 6, 1)
COLOUR = Image("image", 4, 6, 3)
RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def written(image: PIL.Image.Image, form: str = "PNG", **options: Any) -> bytes:
    content = BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def huge(width: int, height: int) -> bytes:
    """A PNG file that says in 60 bytes how large it is, and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_grey_and_colour_files_become_what_the_model_reads() -> None:
    colour = np.stack([RAMP, RAMP // 2, 255 - RAMP], axis=2)
    assert (GREY.encode([png(RAMP)])[0, :, :, 0] == RAMP).all()
    assert (COLOUR.encode([png(colour)])[0] == colour).all()
    assert (COLOUR.encode([png(RAMP)])[0] == RAMP[:, :, None]).all(), "grey is repeated"
    luma = (colour * [0.299, 0.587, 0.114]).sum(axis=2)
    assert np.abs(GREY.encode([png(colour)])[0, :, :, 0] - luma).max() <= 1


def test_sixteen_bits_cmyk_palettes_and_transparency_are_converted_as_told() -> None:
    deep = RAMP.astype(np.uint16) * 257
    assert (GREY.encode([png(deep)])[0, :, :, 0] == RAMP).all()
    flat = np.zeros((4, 6, 4), np.uint8) + np.array([0, 255, 255, 0], np.uint8)  # no cyan, all magenta and yellow
    red = COLOUR.encode([written(PIL.Image.fromarray(flat, "CMYK"), "JPEG", quality=100)])[0]
    assert red[..., 0].min() > 240 and red[..., 1:].max() < 15
    palette = PIL.Image.fromarray(np.stack([RAMP] * 3, axis=2)).quantize(24)
    assert np.abs(COLOUR.encode([written(palette)])[0].astype(int) - RAMP[:, :, None]).max() <= 10
    clear = np.dstack([RAMP, RAMP, RAMP, np.zeros_like(RAMP)])
    assert (COLOUR.encode([png(clear)]) == 255).all(), "what is transparent lies on white"


def test_a_photograph_is_turned_as_its_camera_says() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = GREY.encode([written(PIL.Image.fromarray(RAMP[::-1, ::-1]), exif=exif)])
    assert (turned[0, :, :, 0] == RAMP).all()


def test_other_sizes_are_fitted_as_the_contract_says() -> None:
    wide = np.tile(np.array([0, 0, 200, 200, 200, 200, 0, 0], np.uint8).repeat(2), (8, 1))  # 8 × 16
    square = {fit: Image("image", 4, 4, 1, fit) for fit in ("exact", "stretch", "crop")}
    assert (square["crop"].encode([png(wide)]) == 200).all(), "the middle fills it"
    assert square["stretch"].encode([png(wide)])[0, 0, 0, 0] < 60
    with pytest.raises(InputError, match=r"^image: file 0 is 8 × 16 pixels; expected 4 × 4, as other sizes are not"):
        square["exact"].encode([png(wide)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"GIF89a and more", "no image; expected a file of JPEG or PNG"),
        (written(PIL.Image.fromarray(RAMP), "GIF"), "no image; expected a file of JPEG or PNG"),
        (png(np.arange(9216, dtype=np.uint8).reshape(96, 96), "JPEG")[:-200], "damaged: "),
        (png(np.arange(9216, dtype=np.uint8).reshape(96, 96))[:90], "damaged: "),
        (huge(5000, 5000), "5000 × 5000: more than 16,777,216 pixels, which are not unpacked"),
        (huge(60_000, 60_000), "more than 16,777,216 pixels, which are not unpacked"),
        (b"\x89PNG" + bytes(2**25), "33,554,436 bytes; at most 33,554,432 are read"),
    ],
)
def test_what_is_no_image_is_told_in_a_line(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=r"^image: file 2 is ") as told:
        GREY.encode([png(RAMP), content], first=1)
    assert said in str(told.value) and "\n" not in str(told.value)


def test_pixels_are_counted_before_they_are_unpacked() -> None:
    assert Image("image", 4, 6, 1, most_pixels=10**8).pixels([huge(5000, 5000), png(RAMP)]) == 25_000_024
    with pytest.raises(InputError, match="file 0 is 5000 × 5000"):
        GREY.pixels([huge(5000, 5000)])


def test_without_pillow_arrays_can_still_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    GREY.check(RAMP[None, :, :, None])
    with pytest.raises(ServingError, match="library Pillow; install it: pip install pillow"):
        GREY.encode([b"x"])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        ([1], "a list; expected a NumPy array, uint8, batch × 4 × 6 × 1"),
        (RAMP[None, :, :, None].astype(np.float32), "dtype float32; expected uint8, batch × 4 × 6 × 1"),
        (RAMP[None], "shape 1 × 4 × 6; expected uint8, batch × 4 × 6 × 1"),
    ],
)
def test_an_array_of_another_form_is_refused(array: Any, said: str) -> None:
    with pytest.raises(InputError) as told:
        GREY.check(array)
    assert str(told.value) == f"image: {said}"


@pytest.mark.parametrize(
    ("form", "how"),
    [
        (["float32", [4, 6, 1]], {"fit": "exact", "most_pixels": 5}),
        (["uint8", [4, 6, 2]], {"fit": "exact", "most_pixels": 5}),
        (["uint8", [4, 6, 1]], {"fit": "somehow", "most_pixels": 5}),
        (["uint8", [4, 6, 1]], {"fit": "crop", "most_pixels": 0}),
    ],
)
def test_a_contract_that_describes_no_image_is_refused(form: Any, how: Any) -> None:
    found = {
        "problem": "vision",
        "inputs": {"image": form},
        "order": ["image"],
        "output_shape": [2],
        "categories": {},
        "images": {"image": how},
        "settings": {},
    }
    with pytest.raises(ValueError, match=r"^image"):
        Contract.from_json(found)
