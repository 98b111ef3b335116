"""Images are an input of a model: bytes of JPEG and PNG files become arrays here, as training made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from serving.contract.errors import InputError, ServingError

if TYPE_CHECKING:
    import PIL.Image

Fit = Literal["exact", "stretch", "crop"]
FORMATS = ("JPEG", "PNG")
MOST_PIXELS = 2**24
MOST_BYTES = 2**25
"""A file is this large at most: Pillow holds it beside its pixels."""
MODES = {1: "L", 3: "RGB"}
WIDE_STEP = 257
"""So many levels of 16 bits make one of 8."""
STRIP = 64
"""So many lines of a file are converted at once: what stands between is small."""
ORIENTATION, UPRIGHT = 0x0112, 1
ONE = Lock()
"""One file is unpacked at a time, in whatever threads: a large one takes hundreds of megabytes."""


class Unreadable(Exception):
    """A file is no image that is read; the text says what it is instead."""


@dataclass(frozen=True)
class Image:
    """An Image is an array (batch, height, width, channels) of uint8, 1 channel of grey or 3 of red, green and blue.

    `fit`: what is done with a file of another size: `exact` refuses it, `stretch` scales both sides, `crop` scales it
    until it covers the image, and cuts what stands over at both ends. `most_pixels`: of a file, which is refused
    before it is unpacked if it has more.
    """

    name: str
    height: int
    width: int
    channels: int
    fit: Fit = "exact"
    most_pixels: int = MOST_PIXELS
    dtype: str = "uint8"

    def __str__(self) -> str:
        return " × ".join([f"{self.dtype}, batch", *map(str, self.shape)])

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one row."""
        return self.height, self.width, self.channels

    def check(self, array: Any) -> None:
        """Check type and shape; every value is one. Raises InputError naming the field."""
        if not isinstance(array, np.ndarray):
            raise InputError(self.name, f"a {type(array).__name__}; expected a NumPy array, {self}")
        if array.dtype != np.uint8:
            raise InputError(self.name, f"dtype {array.dtype}; expected {self}")
        if array.shape[1:] != self.shape or not array.ndim:
            found = " × ".join(map(str, array.shape)) or "a single number"
            raise InputError(self.name, f"shape {found}; expected {self}")

    def encode(self, files: Sequence[bytes], first: int = 0) -> NDArray[np.uint8]:
        """Return (files, height, width, channels) of the bytes of JPEG and PNG files, as training reads them.

        Grey becomes colour by repetition and colour grey by ITU-R 601; CMYK and palettes become colour, 16 bits of grey
        are divided by 257; what is transparent lies on white; a photograph is turned as its camera says. Raises
        InputError naming the first file that is none, counted from `first`, ServingError without the library Pillow.
        """
        found = np.empty((len(files), *self.shape), np.uint8)
        for place, content in enumerate(files):
            try:
                found[place] = self.read(content)
            except Unreadable as error:
                raise InputError(self.name, f"file {first + place} is {error}") from None
        return found

    def read(self, content: bytes) -> NDArray[np.uint8]:
        """Return (height, width, channels) of one file. Raises Unreadable saying what it is instead."""
        with ONE:
            return self._fitted(self._unpacked(content))

    def _unpacked(self, content: bytes) -> "PIL.Image.Image":
        with self._opened(content) as opened:
            try:
                opened.load()
                return _plain(_upright(opened), MODES[self.channels])
            except Exception as error:  # noqa: BLE001 a file that is cut short, or damaged in any other way
                raise Unreadable(f"damaged: {' '.join(str(error).split()):.80}") from None

    def _fitted(self, plain: "PIL.Image.Image") -> NDArray[np.uint8]:
        wanted = (self.width, self.height)
        if plain.size != wanted:
            if self.fit == "exact":
                said = f"{plain.height} × {plain.width} pixels; expected {self.height} × {self.width}"
                raise Unreadable(f"{said}, as other sizes are not fitted")
            plain = _covering(plain, wanted) if self.fit == "crop" else plain
            plain = plain.resize(wanted, _pillow().Resampling.BILINEAR)
        return np.asarray(plain, np.uint8).reshape(self.shape)

    def pixels(self, files: Sequence[bytes]) -> int:
        """Count the pixels of all files by what their heads say, before any is unpacked. Raises InputError."""
        total = 0
        for place, content in enumerate(files):
            try:
                with self._opened(content) as opened:
                    total += opened.width * opened.height
            except Unreadable as error:
                raise InputError(self.name, f"file {place} is {error}") from None
        return total

    def _opened(self, content: bytes) -> "PIL.Image.Image":
        pillow = _pillow()
        if not content:
            raise Unreadable("empty")
        if len(content) > MOST_BYTES:
            raise Unreadable(f"{len(content):,} bytes; at most {MOST_BYTES:,} are read")
        try:
            opened: PIL.Image.Image = pillow.open(BytesIO(content), formats=FORMATS)
        except (pillow.DecompressionBombError, Warning):  # a head that says more than even Pillow would unpack
            raise Unreadable(f"more than {self.most_pixels:,} pixels, which are not unpacked") from None
        except Exception:  # noqa: BLE001 whatever Pillow says of bytes that are no image
            raise Unreadable(f"no image; expected a file of {' or '.join(FORMATS)}") from None
        if opened.width * opened.height > self.most_pixels:
            size = f"{opened.height} × {opened.width}"
            raise Unreadable(f"{size}: more than {self.most_pixels:,} pixels, which are not unpacked")
        return opened


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise ServingError("image files are read by the library Pillow; install it: pip install pillow") from None
    return PIL.Image


def _upright(image: "PIL.Image.Image") -> "PIL.Image.Image":
    from PIL import ImageOps

    upright = image.getexif().get(ORIENTATION, UPRIGHT) == UPRIGHT
    return image if upright else ImageOps.exif_transpose(image)


def _plain(image: "PIL.Image.Image", mode: str) -> "PIL.Image.Image":
    """Return the image in one of MODES."""
    if image.mode == mode and not image.has_transparency_data:
        return image
    plain: PIL.Image.Image = _pillow().new(mode, image.size)
    for top in range(0, image.height, STRIP):
        lines = image.crop((0, top, image.width, min(top + STRIP, image.height)))
        plain.paste(_converted(lines, mode), (0, top))
    return plain


def _converted(image: "PIL.Image.Image", mode: str) -> "PIL.Image.Image":
    pillow = _pillow()
    if image.mode.startswith("I"):  # 16 bits of grey
        levels = np.asarray(image).clip(0, 65535) // WIDE_STEP
        image = pillow.fromarray(levels.astype(np.uint8))
    if image.has_transparency_data:
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image.convert("RGBA"))
    if image.mode not in MODES.values():
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _covering(image: "PIL.Image.Image", wanted: tuple[int, int]) -> "PIL.Image.Image":
    """Return the middle of an image that has the proportions of `wanted`, (width, height)."""
    scale = min(image.width / wanted[0], image.height / wanted[1])
    width, height = max(1, round(wanted[0] * scale)), max(1, round(wanted[1] * scale))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def images_json(images: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return contract.json's part on images: how files of each input are read."""
    return {name: dict(how) for name, how in images.items()}


def image_of(name: str, dtype: str, shape: tuple[int, ...], how: Mapping[str, Any]) -> Image:
    """Return the field of contract.json's values. Raises ValueError when they are no image."""
    fit, most = how["fit"], how["most_pixels"]
    if dtype != "uint8" or len(shape) != 3 or shape[2] not in MODES or 0 in shape:
        raise ValueError(f"{name} is {dtype} of the shape {shape}: no image")
    if fit not in get_args(Fit) or type(most) is not int or most < 1:
        raise ValueError(f"{name}: {fit!r:.40} and {most!r:.40} do not say how files are read")
    return Image(name, *shape, fit=fit, most_pixels=most)
