"""Pictures in: path, bytes, file, Pillow image or array to upright sRGB, or ``ImageError``.

A file is read once and never written; its bounds are checked from the header before a pixel is
decoded; a file that is damaged or cut off is refused, never half grey.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import AvifImagePlugin, Image, ImageCms
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.ExifTags import Base as ExifTag
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from diascope.errors import ImageError, UnreadableReason

Pixels = npt.NDArray[np.uint8]
PictureSource = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Pixels

MIN_SIDE = 32
"""Least side of a picture in pixels."""
MAX_PIXELS = 200_000_000
"""Most pixels of a picture that can be decoded small: a baseline JPEG."""
MAX_PIXELS_WHOLE = 64_000_000
"""Most pixels of any other file, which has to be decoded whole."""
MAX_BYTES = 100_000_000
"""Most bytes of a file."""
USUAL_SCANS = 16
"""Scans of a JPEG from which on fewer pixels are allowed: each passes over all of them, for as
little as a few bytes of the file."""
GREY_LEVELS = 2
"""Most levels between the channels of a grey pixel: what lossy compression leaves of R = G = B."""
PICTURE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"]
)
"""Files of a folder that get a row, whether they can be read or not; in lower case."""
NEUTRAL_GREY = (128, 128, 128)
"""sRGB under whatever is transparent."""

_HEAD = 65_536  # bytes at a file's start that hold what it tells of its colours


class ReadingNote(StrEnum):
    """What was assumed in reading a picture."""

    BROKEN_PROFILE = "broken_profile"
    """The colour profile cannot be used; the pixels were taken as sRGB."""
    CMYK_WITHOUT_PROFILE = "cmyk_without_profile"
    """Inks without a usable profile, taken as complements of R, G, B."""
    CODED_COLOURS = "coded_colours"
    """Primaries or a curve other than sRGB's, told by code points alone, without a profile; the
    pixels were taken as sRGB."""
    FIRST_FRAME = "first_frame"
    """The file holds several pictures; the first was read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds checked before decoding: sides and areas in pixels, files in bytes."""

    min_side: int = MIN_SIDE
    max_pixels: int = MAX_PIXELS
    max_pixels_whole: int = MAX_PIXELS_WHOLE
    max_bytes: int = MAX_BYTES

    @classmethod
    def of(cls, max_pixels: int | None = None, max_bytes: int | None = None) -> "Limits":
        """Bounds for every kind of file alike; None: as it is without."""
        return cls(
            max_pixels=max_pixels or MAX_PIXELS,
            max_pixels_whole=max_pixels or MAX_PIXELS_WHOLE,
            max_bytes=max_bytes or MAX_BYTES,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright picture in sRGB.

    ``pixels`` is uint8 (H, W, 3), R, G, B from 0 to 255, C-contiguous, read-only, and may be
    smaller than the original; ``width`` and ``height`` are those of the upright original.
    ``has_colour`` is False for a greyscale file and where no pixel's channels lie more
    than ``GREY_LEVELS`` apart. ``notes`` holds members of :class:`ReadingNote`.
    """

    pixels: Pixels
    width: int
    height: int
    has_colour: bool
    notes: tuple[str, ...] = ()


def read_picture(
    source: PictureSource,
    *,
    decode_side: int | Callable[[int, int], int] | None = None,
    limits: Limits | None = None,
) -> Picture:
    """Read a path, the bytes of a file, an open binary file, a Pillow image or an array.

    With ``decode_side`` a JPEG is decoded at the smallest of the scales 1/8, 2/8, ... 8/8 whose
    shorter side is still at least that many pixels; other formats are decoded whole. It may be a
    function of the upright original's width and height. An array is uint8 (H, W, 3), sRGB,
    upright; it is not copied where it is contiguous, and never changed.

    Raises:
        ImageError: whatever keeps the picture from being read, with its reason.
    """
    name = source_name(source)
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        return _from_array(source, name, limits)
    if isinstance(source, Image.Image):
        _check_size(source.size, limits.max_pixels, name, limits)
        with _refusing(name):
            return _from_pillow(source, ())
    data = _read_bytes(source, name, limits)
    opener = _opener(data, name)
    with _refusing(name):
        header = opener(BytesIO(data))
        _check_raw(header, name)
        _check_size(header.size, _most_pixels(data, header, limits), name, limits)
        if isinstance(header, JpegImageFile):
            return _from_jpeg(data, header, _side(decode_side, header))
        return _from_pillow(header, _notes(data, header))


# ITU-T H.273, tables 2 and 3, in the box of ISO/IEC 14496-12 and in PNG's chunk: the primaries and
# curves of sRGB and of what is taken for it, and unspecified.
_CODED = re.compile(rb"colrnclx\0(.)\0(.)|\0\0\0\x04cICP(.)(.)", re.DOTALL)
_PRIMARIES, _CURVES = {1, 2, 5, 6}, {1, 2, 6, 13, 14, 15}


def _notes(data: bytes, header: ImageFile) -> tuple[ReadingNote, ...]:
    notes = []
    coded = _CODED.search(data, 0, _HEAD) if "icc_profile" not in header.info else None
    if coded:
        primaries, curve = (part[0] for part in coded.groups() if part is not None)
        if primaries not in _PRIMARIES or curve not in _CURVES:
            notes.append(ReadingNote.CODED_COLOURS)
    if getattr(header, "is_animated", False):
        notes.append(ReadingNote.FIRST_FRAME)
    return tuple(notes)


def source_name(source: object) -> str:
    """Give what messages call a source: its path or file name, or ``<bytes>`` and the like."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<image>")
    name = getattr(source, "name", None)
    return name if isinstance(name, str) and name else "<file>"


def _read_bytes(source: object, name: str, limits: Limits) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    elif isinstance(source, str | os.PathLike):
        data = _read_file(Path(os.fsdecode(source)), name, limits)
    elif hasattr(source, "read"):
        data = _read_stream(cast(BinaryIO, source), name, limits)
    else:
        _refuse(
            UnreadableReason.NOT_AN_IMAGE,
            name,
            f"a {type(source).__name__} is no picture; give a path, the bytes of a file, "
            "a file opened with mode 'rb', a Pillow image or an array",
        )
    if not data:
        _refuse(UnreadableReason.TRUNCATED, name, "the file is empty; copy it again")
    if len(data) > limits.max_bytes:
        _refuse_bytes(name, limits)
    return data


def _read_file(path: Path, name: str, limits: Limits) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            _refuse(UnreadableReason.NOT_AN_IMAGE, name, f"this is {kind}; name a picture file")
        if status.st_size > limits.max_bytes:
            _refuse_bytes(name, limits)
        return path.read_bytes()
    except PermissionError:
        _refuse(UnreadableReason.FORBIDDEN, name, "may not be read; ask for the right to read it")
    except FileNotFoundError:
        _refuse(UnreadableReason.MISSING, name, "no such file; check the path")
    except (OSError, ValueError) as error:
        _refuse(UnreadableReason.MISSING, name, f"cannot be opened ({error}); check the path")


def _read_stream(stream: BinaryIO, name: str, limits: Limits) -> bytes:
    try:
        data = stream.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:
        _refuse(UnreadableReason.MISSING, name, f"cannot be read ({error}); open it again")
    if not isinstance(data, bytes):
        _refuse(UnreadableReason.NOT_AN_IMAGE, name, "gives no bytes; open it with mode 'rb'")
    return data


def _refuse(reason: UnreadableReason, name: str, detail: str) -> NoReturn:
    raise ImageError(reason, name, detail) from None


def _refuse_bytes(name: str, limits: Limits) -> NoReturn:
    detail = f"the file has more than {limits.max_bytes:,} bytes; save the picture smaller"
    _refuse(UnreadableReason.TOO_LARGE, name, detail)


def _check_size(size: tuple[int, int], most: int, name: str, limits: Limits) -> None:
    width, height = size
    if min(width, height) < limits.min_side:
        _refuse(
            UnreadableReason.TOO_SMALL,
            name,
            f"{width} x {height} pixels are too few; each side needs at least {limits.min_side}",
        )
    if width * height > most:
        _refuse(
            UnreadableReason.TOO_LARGE,
            name,
            f"{width} x {height} pixels are more than {most:,}; save the picture smaller",
        )


def _check_raw(header: ImageFile, name: str) -> None:
    # TIFF 6.0, tag NewSubfileType: bit 0 is a thumbnail, the first picture of most raw formats.
    if isinstance(header, TiffImageFile) and int(header.tag_v2.get(254, 0)) & 1:
        _refuse(
            UnreadableReason.UNSUPPORTED, name, "a camera's raw file is not read; export a JPEG"
        )


def _most_pixels(data: bytes, header: ImageFile, limits: Limits) -> int:
    scans = _scans(data) if isinstance(header, JpegImageFile) else USUAL_SCANS
    if scans <= 1:
        return limits.max_pixels
    # With several scans all coefficients are kept in memory, whatever the scale.
    return limits.max_pixels_whole * USUAL_SCANS // max(scans, USUAL_SCANS)


# What is no data of a scan: not a byte 0xff of the data itself (stuffed), not a restart, not fill.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SCAN, _END = 0xDA, 0xD9
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)


def _scans(data: bytes) -> int:
    """Scans of a JPEG's first picture (ITU T.81, annex B), not those of a thumbnail inside."""
    count, place, components = 0, 2, None
    while (found := _MARKER.search(data, place)) and data[found.end() - 1] != _END:
        marker, start = data[found.end() - 1], found.end()
        if marker in _SEQUENTIAL:
            components = data[start + 7 : start + 8]
        if marker == _SCAN:
            count += 1
            if components == data[start + 2 : start + 3]:
                return count  # all components in one scan: it is the last, so skip its data
        place = start + int.from_bytes(data[start : start + 2], "big")
    return count


def _is_bmp(data: bytes) -> bool:
    # Many a text begins with "BM"; the length of the second header is of a closed list.
    lengths = (12, 40, 52, 56, 64, 108, 124)
    return data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in lengths


def _brands(data: bytes) -> set[bytes]:
    """What a file of ISO/IEC 14496-12 says it can be read as: its brands, the major one first."""
    if data[4:8] != b"ftyp":
        return set()
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return {box[start : start + 4] for start in range(0, len(box), 4) if start != 4}


def _is_avif(data: bytes) -> bool:
    return not _brands(data).isdisjoint({b"avif", b"avis"})


def _is_heif(data: bytes) -> bool:
    # ISO/IEC 23008-12, annex B: HEVC pictures, and any coding.
    return not _brands(data).isdisjoint(
        {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"}
    )


# Set on purpose: pictures are read side by side, so each takes one thread.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


_EXIF_ITEM = re.compile(rb"(infe.{8})Exif", re.DOTALL)  # ISO/IEC 14496-12, ItemInfoEntry


def _avif_file(stream: BytesIO) -> ImageFile:
    try:
        return AvifImageFile(stream)
    except Exception:  # noqa: BLE001 a corrupt EXIF block is an error of any kind: without, then
        return AvifImageFile(BytesIO(_EXIF_ITEM.sub(rb"\1none", stream.getvalue())))


def _heif_file(stream: BytesIO) -> ImageFile:
    # Three libraries to load, for the few files that need them.
    import pillow_heif  # noqa: PLC0415

    pillow_heif.options.DECODE_THREADS = 1
    return cast(ImageFile, pillow_heif.HeifImageFile(stream))  # type: ignore[no-untyped-call]


# By signature, not through Image.open: file names do not matter, few plugins are loaded, and no
# process-wide pixel limit is asked.
_OPENERS: dict[Callable[[bytes], bool], Callable[[BytesIO], ImageFile]] = {
    lambda data: data.startswith(b"\xff\xd8\xff"): JpegImageFile,
    lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"): PngImageFile,
    lambda data: data[:4] == b"RIFF" and data[8:12] == b"WEBP": WebPImageFile,
    lambda data: data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")): TiffImageFile,
    lambda data: data.startswith((b"GIF87a", b"GIF89a")): GifImageFile,
    _is_bmp: BmpImageFile,
    _is_avif: _avif_file,
    _is_heif: _heif_file,
}


def _opener(data: bytes, name: str) -> Callable[[BytesIO], ImageFile]:
    for matches, opener in _OPENERS.items():
        if matches(data):
            return opener
    if data[4:8] == b"ftyp":
        _refuse(UnreadableReason.UNSUPPORTED, name, "a film is not read; export a picture of it")
    _refuse(
        UnreadableReason.NOT_AN_IMAGE,
        name,
        "holds no known picture; use JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC",
    )


_RARE = re.compile("unsupported|not supported|cannot handle|unknown", re.IGNORECASE)
_BOUNDLESS = re.compile("decompressed data too large|security limit|too much memory", re.IGNORECASE)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    """Turn whatever a decoder throws at a bad file into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except (MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        detail = "has more pixels than memory should hold; save the picture smaller"
        _refuse(UnreadableReason.TOO_LARGE, name, detail)
    except Exception as error:  # noqa: BLE001 decoders promise no closed set
        why = str(error).partition("\n")[0][:100]
        if _BOUNDLESS.search(why):
            detail = f"unpacks without bound ({why}); save it again without its extras"
            _refuse(UnreadableReason.TOO_LARGE, name, detail)
        if _RARE.search(why):
            detail = f"a rare kind of file ({why}); save it again as JPEG or PNG"
            _refuse(UnreadableReason.UNSUPPORTED, name, detail)
        detail = f"the file is damaged or cut off ({why}); copy it again from where it came"
        _refuse(UnreadableReason.TRUNCATED, name, detail)


def _from_array(array: npt.NDArray[Any], name: str, limits: Limits) -> Picture:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        _refuse(
            UnreadableReason.UNSUPPORTED,
            name,
            f"shape {array.shape} of {array.dtype} is no picture; "
            "give uint8 of shape (height, width, 3), sRGB from 0 to 255",
        )
    height, width = array.shape[:2]
    _check_size((width, height), limits.max_pixels, name, limits)
    return _picture(array, width, height, True, ())


def _side(wanted: int | Callable[[int, int], int] | None, header: Image.Image) -> int:
    if callable(wanted):
        return wanted(*_upright_size(header.size, _orientation(header)))
    return wanted or 0


def _from_jpeg(data: bytes, header: JpegImageFile, side: int) -> Picture:
    inks = header.mode == "CMYK"
    array = simplejpeg.decode_jpeg(
        data, "CMYK" if inks else "RGB", min_height=side, min_width=side, strict=True
    )
    notes: tuple[ReadingNote, ...] = ()
    if inks or header.info.get("icc_profile"):
        # Adobe's convention, which all writers of CMYK JPEG follow: 255 is no ink.
        image = Image.fromarray(255 - array, "CMYK") if inks else Image.fromarray(array)
        image, notes = _to_srgb(image, header.info.get("icc_profile"))
        array = np.asarray(image)
    return _upright(array, header.size, header, header.mode != "L", notes)


def _from_pillow(image: Image.Image, notes: tuple[ReadingNote, ...]) -> Picture:
    image.load()
    flat, alpha = _eight_bit(image), None
    grey = flat.mode in ("1", "L", "LA", "La")
    if flat.has_transparency_data:
        flat = _in_mode(flat, "RGBA")
        alpha = flat.getchannel("A")
    if flat.mode != "CMYK":
        flat = _in_mode(flat, "RGB")
    if not grey:
        flat, assumed = _to_srgb(flat, image.info.get("icc_profile"))
        notes = (*notes, *assumed)
    if alpha is not None:
        canvas = Image.new("RGB", flat.size, NEUTRAL_GREY)
        canvas.paste(flat, mask=alpha)
        flat = canvas
    return _upright(np.asarray(flat), image.size, image, not grey, notes)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    # Pillow's convert copies even where nothing changes.
    return image if image.mode == mode else image.convert(mode)


def _eight_bit(image: Image.Image) -> Image.Image:
    # Pillow's own conversion of these modes clips at 255.
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257.0).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} are not supported")
    return image


def _to_srgb(
    image: Image.Image, profile: bytes | None
) -> tuple[Image.Image, tuple[ReadingNote, ...]]:
    """RGB or CMYK to sRGB by the ICC profile, with the profile's own rendering intent."""
    notes: tuple[ReadingNote, ...] = ()
    if profile:
        try:
            transform = _transform(profile, image.mode)
            return (transform.apply(image) if transform else image), ()
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notes = (ReadingNote.BROKEN_PROFILE,)
    if image.mode == "CMYK":
        return image.convert("RGB"), (*notes, ReadingNote.CMYK_WITHOUT_PROFILE)
    return image, notes


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way to sRGB, or None where the profile is sRGB itself."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(source, srgb, mode, "RGB", intent)
    if mode == "RGB":
        changed = np.asarray(transform.apply(Image.fromarray(_PROBE))).astype(int) - _PROBE
        if np.abs(changed).max() <= 1:
            return None
    return transform


_LEVELS = np.arange(0, 256, 17, dtype=np.uint8)
_PROBE = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=-1).reshape(64, 64, 3)


# EXIF 2.32 (CIPA DC-008), tag 274: what turns a stored picture (H, W, 3) upright.
_TURNS: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: p[::-1].transpose(1, 0, 2),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: p[:, ::-1].transpose(1, 0, 2),
}


def _orientation(header: Image.Image) -> int:
    try:
        return int(header.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # noqa: BLE001 a corrupt EXIF block is no reason to refuse the pixels
        return 1


def _upright(
    array: Pixels,
    size: tuple[int, int],
    header: Image.Image,
    colour: bool,
    notes: tuple[ReadingNote, ...],
) -> Picture:
    orientation = _orientation(header)
    pixels = _TURNS[orientation](array) if orientation in _TURNS else array
    width, height = _upright_size(size, orientation)
    return _picture(pixels, width, height, colour, notes)


def _upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation in (5, 6, 7, 8) else size


def _picture(
    pixels: Pixels, width: int, height: int, colour: bool, notes: tuple[ReadingNote, ...]
) -> Picture:
    pixels = np.ascontiguousarray(pixels).view()
    pixels.flags.writeable = False
    return Picture(pixels, width, height, colour and _has_colour(pixels), notes)


def _has_colour(pixels: Pixels) -> bool:
    # A sparse look first: most pictures show their colour there.
    return not (_is_grey(pixels[::16, ::16]) and _is_grey(pixels))


def _is_grey(pixels: Pixels) -> bool:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    most = np.maximum(np.maximum(red, green), blue)
    least = np.minimum(np.minimum(red, green), blue)
    return bool((most - least).max() <= GREY_LEVELS)
