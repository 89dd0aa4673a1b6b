"""Pictures good, odd and bad, made by code, each with what must become of it.

Expected colours are computed here from the definitions of the colour spaces, by matrices and
curves, never by the code under test.
"""

import base64
import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pillow_heif import register_heif_opener

register_heif_opener()

SKIN, MARK = (199, 148, 129), (200, 84, 97)
SIZE = (128, 96)
"""Width and height of every whole picture."""


@dataclass(frozen=True)
class Case:
    """One input: bytes, or what makes it at a path; and the row it must get.

    ``pixels`` is what it shows, sRGB; None where nothing is told of its colour.
    """

    name: str
    content: bytes | Callable[[Path], None]
    status: str = "read"
    reason: str = ""
    notes: tuple[str, ...] = ()
    pixels: np.ndarray | None = None
    within: float = 1.0

    def write(self, folder: Path) -> Path:
        """Make the file in a folder."""
        path = folder / self.name
        if callable(self.content):
            self.content(path)
        else:
            path.write_bytes(self.content)
        return path


def drawn() -> np.ndarray:
    """Skin with a mark and some texture, not symmetric in any way."""
    width, height = SIZE
    down, across = np.mgrid[0:height, 0:width]
    pixels = np.full((height, width, 3), SKIN, float)
    pixels[(down - 30) ** 2 + (across - 40) ** 2 < 400] = MARK
    pixels *= 1 + 0.05 * np.sin(across / 3)[..., None] - 0.1 * (down / height)[..., None]
    return np.uint8(np.clip(np.rint(pixels), 0, 255))


PIXELS = drawn()
IMAGE = Image.fromarray(PIXELS)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture as the bytes of a file."""
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


# Colour spaces, from their definitions: primaries and white (x, y), and the curve of encoding.

D50, D65 = (0.3457, 0.3585), (0.3127, 0.3290)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _to_d50(white: tuple[float, float]) -> np.ndarray:
    """Bradford's adaptation of XYZ to the white of profiles."""
    here, there = _BRADFORD @ _xyz(*white), _BRADFORD @ _xyz(*D50)
    return np.linalg.inv(_BRADFORD) @ np.diag(there / here) @ _BRADFORD


def colorants(primaries: tuple[tuple[float, float], ...], white: tuple[float, float]) -> np.ndarray:
    """XYZ under D50, (3, 3), of linear R, G, B; its columns are a profile's colorants."""
    columns = np.stack([_xyz(*each) for each in primaries], axis=1)
    scaled = columns * np.linalg.solve(columns, _xyz(*white))
    return _to_d50(white) @ scaled


@dataclass(frozen=True)
class Space:
    """A colour space: colorants, and its curve as an ICC parametric type with parameters."""

    matrix: np.ndarray
    curve: tuple[int, tuple[float, ...]]

    def encode(self, linear: np.ndarray) -> np.ndarray:
        """Values in [0, 1] that a file holds of linear ones."""
        if self.curve[0] == 0:
            return linear ** (1 / self.curve[1][0])
        gamma, a, b, c, d = self.curve[1]
        return np.where(linear < c * d, linear / c, (linear ** (1 / gamma) - b) / a)

    def profile(self) -> bytes:
        """An ICC profile of matrix and curves (ICC.1:2010, sections 7 and 10.15)."""
        kind, parameters = self.curve
        curve = b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + _fixed(*parameters)
        tags = {b"wtpt": b"XYZ \0\0\0\0" + _fixed(0.9642, 1.0, 0.8249)}
        for name, column in zip((b"r", b"g", b"b"), self.matrix.T, strict=True):
            tags |= {name + b"XYZ": b"XYZ \0\0\0\0" + _fixed(*column), name + b"TRC": curve}
        return icc_profile(b"RGB ", tags)


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def icc_profile(
    space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ "
) -> bytes:
    """An ICC profile of the given tags."""
    body, table = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI", start + len(body), b"\0" * 4, 0x04300000)
    header += kind + space + connection + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    header += bytes(28) + _fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


_SRGB_CURVE = (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
SRGB = Space(colorants(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), D65), _SRGB_CURVE)
SPACES = {
    "display-p3": Space(
        colorants(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65), _SRGB_CURVE
    ),
    "adobe-rgb": Space(
        colorants(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65), (0, (563 / 256,))
    ),
    "prophoto": Space(
        colorants(((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), D50), (0, (1.8,))
    ),
}


def linear_srgb(pixels: np.ndarray) -> np.ndarray:
    """Linear RGB of sRGB bytes (IEC 61966-2-1)."""
    share = pixels / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def in_space(space: Space, pixels: np.ndarray = PIXELS, levels: int = 255) -> np.ndarray:
    """What a file of another space holds of sRGB pixels."""
    linear = linear_srgb(pixels) @ SRGB.matrix.T @ np.linalg.inv(space.matrix).T
    values = np.rint(levels * space.encode(np.clip(linear, 0, 1)))
    return values.astype(np.uint8 if levels == 255 else np.uint16)


def mean_ab(pixels: np.ndarray) -> np.ndarray:
    """Mean CIELAB a*, b* under D50, as profiles count it."""
    xyz = linear_srgb(pixels).reshape(-1, 3) @ SRGB.matrix.T / _xyz(*D50)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    return np.array([np.mean(500 * (x - y)), np.mean(200 * (y - z))])


# Inks: a press whose paper and four inks multiply, told as an ICC table and computed here.


def inks(pixels: np.ndarray) -> np.ndarray:
    """CMYK bytes whose complements are ``pixels``, a third of the grey in black."""
    black = (255 - pixels.max(axis=-1, keepdims=True).astype(float)) / 3
    rest = 255 - pixels * 255.0 / (255 - black)
    return np.rint(np.concatenate([rest, black], axis=-1)).astype(np.uint8)


_GRID = 9


def press_profile() -> bytes:
    """A CMYK profile by which inks are complements of sRGB: a lut8 table to CIELAB (D50)."""
    steps = np.linspace(0, 255, _GRID)
    cmyk = np.stack(np.meshgrid(steps, steps, steps, steps, indexing="ij"), axis=-1)
    shown = (255 - cmyk[..., :3]) * (255 - cmyk[..., 3:]) / 255
    xyz = linear_srgb(shown.reshape(-1, 3)) @ SRGB.matrix.T / _xyz(*D50)
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29).T
    lab = np.stack([(116 * y - 16) * 652.8, 500 * (x - y) * 256, 200 * (y - z) * 256], axis=-1)
    lab[:, 1:] += 32768
    nodes = np.clip(np.rint(lab), 0, 65280).astype(">u2").tobytes()
    straight = struct.pack(">2H", 0, 65535)
    table = b"mft2\0\0\0\0" + bytes([4, 3, _GRID, 0]) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += struct.pack(">2H", 2, 2) + straight * 4 + nodes + straight * 3
    return icc_profile(b"CMYK", {b"A2B0": table}, kind=b"prtr", connection=b"Lab ")


# Files that no library here writes.


def deep_png(values: np.ndarray, icc: bytes | None = None, clear: bytes = b"") -> bytes:
    """A PNG of 16 bit: (H, W, 3 or 4) uint16; ``clear`` is the body of a tRNS chunk."""
    height, width, channels = values.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    kind = {3: 2, 4: 6}[channels]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    chunks += [(b"iCCP", b"p\0\0" + zlib.compress(icc))] if icc else []
    chunks += [(b"tRNS", clear)] if clear else []
    chunks += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return png_of_chunks(chunks)


def png_of_chunks(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks: name and body."""
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    return data


def ycck(cmyk: np.ndarray) -> bytes:
    """A JPEG of Y, Cb, Cr, K as Adobe writes it: complements, and transform 2 in its marker."""
    ycc = np.asarray(Image.fromarray(cmyk[..., :3]).convert("YCbCr"))
    stored = Image.fromarray(np.dstack([255 - ycc, cmyk[..., 3]]), "CMYK")
    data = bytearray(encoded(stored, "JPEG", quality=100, subsampling=0))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


# jpegtran -arithmetic of a JPEG of 64 x 48: MARK in the upper left 32 x 16, SKIN around it.
ARITHMETIC_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsL"
    "EBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAwAEADAREAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD+7bRE"
    "XXfy7ErAYf8AQoTy0VrcsqysTKvdRUj/2Q=="
)


def arithmetic_pixels() -> np.ndarray:
    """What ``ARITHMETIC_JPEG`` shows."""
    pixels = np.full((48, 64, 3), SKIN, np.uint8)
    pixels[:16, :32] = MARK
    return pixels


def _exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


# EXIF 2.32, tag 274: how the upright picture is stored for each orientation.
_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: np.rot90(upright, 2),
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}

FINE = {"quality": 100, "subsampling": 0}
FINE_AVIF = {"quality": 100, "subsampling": "4:4:4"}
FINE_HEIC = {"quality": -1, "chroma": 444}


def cases() -> list[Case]:
    """Every case, each with a file name of its own."""
    found = [*_formats(), *_spaces(), *_turns(), *_odd(), *_bad(), *_places()]
    assert len({case.name for case in found}) == len(found)
    return found


def _good(name: str, content: bytes, **told: object) -> Case:
    return Case(name, content, **({"pixels": PIXELS} | told))


def _formats() -> Iterator[Case]:
    yield _good("baseline.jpg", encoded(IMAGE, "JPEG", **FINE))
    yield _good("halved-colour.jpg", encoded(IMAGE, "JPEG", quality=95, subsampling=2))
    yield _good("progressive.jpg", encoded(IMAGE, "JPEG", progressive=True, **FINE))
    yield _good("arithmetic.jpg", ARITHMETIC_JPEG, pixels=arithmetic_pixels())
    yield _good("rgb.jpg", encoded(IMAGE, "JPEG", keep_rgb=True, **FINE))
    yield _good("eight.png", encoded(IMAGE, "PNG"))
    yield _good("interlaced-palette.png", encoded(IMAGE.quantize(256), "PNG"))
    yield _good("deep.png", deep_png(PIXELS.astype(np.uint16) * 257))
    yield _good("lossy.webp", encoded(IMAGE, "WEBP", quality=100))
    yield _good("lossless.webp", encoded(IMAGE, "WEBP", lossless=True))
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        more = {"quality": 100} if compression == "jpeg" else {}
        data = encoded(IMAGE, "TIFF", compression=compression, **more)
        yield _good(f"{compression}.tif", data)
    yield _good("plain.bmp", encoded(IMAGE, "BMP"))
    yield _good("palette.bmp", encoded(IMAGE.quantize(256), "BMP"))
    yield _good("plain.gif", encoded(IMAGE.quantize(256), "GIF"))
    yield _good("plain.avif", encoded(IMAGE, "AVIF", **FINE_AVIF))
    yield _good("lossy.avif", encoded(IMAGE, "AVIF", quality=90))
    yield _good("plain.heic", encoded(IMAGE, "HEIF", **FINE_HEIC))
    yield _good("lossy.heic", encoded(IMAGE, "HEIF", quality=90))


def _spaces() -> Iterator[Case]:
    writers = {"jpg": ("JPEG", FINE), "png": ("PNG", {}), "tif": ("TIFF", {})}
    writers |= {"webp": ("WEBP", {"lossless": True}), "avif": ("AVIF", FINE_AVIF)}
    writers |= {"heic": ("HEIF", FINE_HEIC)}
    for name, space in SPACES.items():
        image, icc = Image.fromarray(in_space(space)), space.profile()
        for suffix, (kind, options) in writers.items():
            yield _good(f"{name}.{suffix}", encoded(image, kind, icc_profile=icc, **options))
        deep = deep_png(in_space(space, levels=65535), icc)
        yield _good(f"{name}-deep.png", deep)
    yield _good("srgb.jpg", encoded(IMAGE, "JPEG", icc_profile=SRGB.profile(), **FINE))
    cmyk, press = inks(PIXELS), press_profile()
    plain = ("cmyk_without_profile",)
    image = Image.fromarray(cmyk, "CMYK")
    yield _good("cmyk-profile.jpg", encoded(image, "JPEG", icc_profile=press, **FINE))
    yield _good("cmyk-profile.tif", encoded(image, "TIFF", icc_profile=press))
    yield _good("cmyk.jpg", encoded(image, "JPEG", **FINE), notes=plain)
    yield _good("cmyk.tif", encoded(image, "TIFF"), notes=plain)
    yield _good("ycck.jpg", ycck(cmyk), notes=plain)
    broken = {"pixels": PIXELS, "notes": ("broken_profile",)}
    yield Case("junk-profile.jpg", encoded(IMAGE, "JPEG", icc_profile=b"junk", **FINE), **broken)
    coded = {"notes": ("coded_colours",)}  # Display P3 by its code points, without a profile
    header = encoded(IMAGE, "PNG")
    chunk = png_of_chunks([(b"cICP", bytes([12, 13, 0, 1]))])[8:]
    yield _good("coded.png", header[:33] + chunk + header[33:], **coded)
    for suffix, kind, options in (("avif", "AVIF", FINE_AVIF), ("heic", "HEIF", FINE_HEIC)):
        data = bytearray(encoded(IMAGE, kind, **options))
        place = data.index(b"colrnclx") + 8
        data[place : place + 4] = bytes([0, 12, 0, 13])
        yield _good(f"coded.{suffix}", bytes(data), **coded)
    cut = SPACES["display-p3"].profile()[:200]
    yield Case("cut-profile.png", encoded(IMAGE, "PNG", icc_profile=cut), **broken)


def _turns() -> Iterator[Case]:
    kinds = {"jpg": ("JPEG", FINE), "png": ("PNG", {}), "heic": ("HEIF", FINE_HEIC)}
    for orientation, store in _STORED.items():
        stored = Image.fromarray(np.ascontiguousarray(store(PIXELS)))
        for suffix, (kind, options) in kinds.items():
            block = _exif(orientation).tobytes()
            yield _good(
                f"turn-{orientation}.{suffix}", encoded(stored, kind, exif=block, **options)
            )
    junk = b"Exif\0\0" + bytes(range(200))
    yield _good("corrupt-exif.jpg", encoded(IMAGE, "JPEG", exif=junk, **FINE))
    yield _good("corrupt-exif.png", encoded(IMAGE, "PNG", exif=junk))
    yield _good("corrupt-exif.webp", encoded(IMAGE, "WEBP", exif=junk, lossless=True))
    yield _good("corrupt-exif.heic", encoded(IMAGE, "HEIF", exif=junk, **FINE_HEIC))


def _odd() -> Iterator[Case]:
    alpha = np.full(SIZE[::-1], 255, np.uint8)
    alpha[:, :40], alpha[:, 40:60] = 0, 102
    share = alpha[..., None] / 255
    over_grey = np.rint(PIXELS * share + 128 * (1 - share)).astype(np.uint8)
    clear = Image.fromarray(np.dstack([PIXELS, alpha]))
    yield _good("alpha.png", encoded(clear, "PNG"), pixels=over_grey)
    yield _good("alpha.webp", encoded(clear, "WEBP", lossless=True), pixels=over_grey)
    yield _good("alpha.tif", encoded(clear, "TIFF"), pixels=over_grey)
    yield _good("alpha.avif", encoded(clear, "AVIF", **FINE_AVIF), pixels=over_grey)
    yield _good("alpha.heic", encoded(clear, "HEIF", **FINE_HEIC), pixels=over_grey)
    deep = np.dstack([PIXELS, alpha]).astype(np.uint16) * 257
    yield _good("deep-alpha.png", deep_png(deep), pixels=over_grey)
    flat = np.full((*SIZE[::-1], 3), SKIN, np.uint8)
    flat[:40] = MARK
    over = flat.copy()
    over[:40] = 128
    palette = Image.fromarray(flat).quantize(2)
    entry = palette.getpixel((0, 0))
    yield _good("clear-palette.png", encoded(palette, "PNG", transparency=entry), pixels=over)
    yield _good("clear-palette.gif", encoded(palette, "GIF", transparency=entry), pixels=over)
    yield _good(
        "clear-colour.png", encoded(Image.fromarray(flat), "PNG", transparency=MARK), pixels=over
    )
    several = {"notes": ("first_frame",)}
    more = {"save_all": True, "append_images": [Image.new("RGB", SIZE, (0, 0, 255))]}
    yield _good("film.gif", encoded(IMAGE, "GIF", **more), **several)
    yield _good("film.png", encoded(IMAGE, "PNG", **more), **several)
    yield _good("film.webp", encoded(IMAGE, "WEBP", lossless=True, **more), **several)
    yield _good("film.avif", encoded(IMAGE, "AVIF", **FINE_AVIF, **more), **several)
    yield _good("pages.tif", encoded(IMAGE, "TIFF", **more), **several)
    yield _good("several.heic", encoded(IMAGE, "HEIF", **FINE_HEIC, **more), **several)
    yield _good("picture-and-more.jpg", encoded(IMAGE, "JPEG", **FINE) + b"after the end" * 99)
    yield _good("a-png-called.jpg", encoded(IMAGE, "PNG"))
    grey = {"status": "declined", "reason": "no_colour"}
    for mode, suffix in (("L", "jpg"), ("L", "png"), ("LA", "png"), ("1", "tif"), ("L", "webp")):
        kind = {"jpg": "JPEG", "png": "PNG", "tif": "TIFF", "webp": "WEBP"}[suffix]
        data = encoded(IMAGE.convert(mode), kind)
        yield Case(f"grey-{mode}.{suffix}", data, **grey)
    ramp = Image.fromarray(np.asarray(IMAGE.convert("L")).astype(np.uint16) * 257)
    yield Case("grey-deep.png", encoded(ramp, "PNG"), **grey)


def _bad() -> Iterator[Case]:
    def refused(name: str, content: bytes, reason: str) -> Case:
        return Case(name, content, "unreadable", reason)

    noisy = np.random.default_rng(0).integers(60, 220, (*SIZE[::-1], 3), np.uint8)
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tif": "TIFF", "gif": "GIF"}
    for suffix, kind in (kinds | {"bmp": "BMP", "avif": "AVIF", "heic": "HEIF"}).items():
        data = encoded(Image.fromarray(noisy), kind)
        for share in (10, 50, 95):
            yield refused(f"cut-{share}.{suffix}", data[: len(data) * share // 100], "truncated")
    yield refused("page.jpg", b"<!DOCTYPE html><html>404: no such picture</html>", "not_an_image")
    yield refused("text.png", b"BM is how this text begins, and on it goes", "not_an_image")
    yield refused("zeros.jpg", bytes(4000), "not_an_image")
    yield refused("empty.jpg", b"", "truncated")
    film = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(400)
    yield refused("film.mp4.jpg", film, "unsupported")
    yield refused("camera.tif", encoded(IMAGE, "TIFF", tiffinfo={254: 1}), "unsupported")
    yield refused("floats.tif", encoded(Image.new("F", SIZE), "TIFF"), "unsupported")
    yield refused("small.png", encoded(IMAGE.resize((40, 31)), "PNG"), "too_small")
    wide = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    end = [(b"IDAT", b""), (b"IEND", b"")]
    yield refused("wide.png", png_of_chunks([(b"IHDR", wide), *end]), "too_large")
    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    text = b"bomb\0\0" + zlib.compress(bytes(100_000_000))
    yield refused(
        "text-bomb.png", png_of_chunks([(b"IHDR", head), (b"zTXt", text), *end]), "too_large"
    )
    screen = bytearray(encoded(IMAGE.quantize(8), "GIF"))
    screen[6:10] = struct.pack("<HH", 65_000, 65_000)
    yield refused("screen.gif", bytes(screen), "too_large")
    canvas = bytearray(encoded(IMAGE, "WEBP", save_all=True, append_images=[IMAGE.rotate(180)]))
    canvas[24:30] = struct.pack("<I", 16_382)[:3] * 2
    yield refused("canvas.webp", bytes(canvas), "too_large")
    sides = bytearray(encoded(IMAGE, "TIFF"))
    for tag in (256, 257):
        place = sides.index(struct.pack("<HHI", tag, 4, 1))
        sides[place + 8 : place + 12] = struct.pack("<I", 40_000)
    yield refused("sides.tif", bytes(sides), "too_large")
    frame = bytearray(encoded(IMAGE, "JPEG"))
    start = frame.index(b"\xff\xc0")
    frame[start + 5 : start + 9] = struct.pack(">HH", 60_000, 60_000)
    yield refused("frame.jpg", bytes(frame), "too_large")


def _places() -> Iterator[Case]:
    def refused(name: str, make: Callable[[Path], None], reason: str) -> Case:
        return Case(name, make, "unreadable", reason)

    yield refused("absent.jpg", lambda path: None, "missing")
    yield refused("link.jpg", lambda path: path.symlink_to(path.with_name("gone")), "missing")
    yield refused("loop.jpg", lambda path: path.symlink_to(path.name), "missing")
    yield refused("folder.jpg", lambda path: path.mkdir(), "not_an_image")
    yield refused("pipe.jpg", lambda path: os.mkfifo(path), "not_an_image")
