import io
import itertools
import os
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageCms
from pillow_heif import register_heif_opener

from diascope.colour import srgb_to_lab, srgb_to_linear
from diascope.errors import ImageError, UnreadableReason
from diascope.image import GREY_LEVELS, Limits, Picture, ReadingNote, _scans, read_picture

register_heif_opener()

SKIN, MARK = (199, 148, 129), (200, 84, 97)


def skin_with_a_mark(height=64, width=96):
    """Two colours of the ColorChecker (light skin, moderate red), not symmetric in any way."""
    pixels = np.full((height, width, 3), SKIN, np.uint8)
    pixels[: height // 4, : width // 2] = MARK
    return pixels


PIXELS = skin_with_a_mark()
IMAGE = Image.fromarray(PIXELS)


def encoded(image, kind, **options):
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


# What each format needs to keep every value, or nearly.
FINE = {
    "JPEG": {"quality": 100, "subsampling": 0},
    "PNG": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "BMP": {},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    "HEIF": {"quality": -1, "chroma": 444},
}
EXACT = ["PNG", "WEBP", "TIFF", "BMP"]
WITH_METADATA = ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"]


def mean_lab(pixels):
    return srgb_to_lab(pixels).reshape(-1, 3).mean(axis=0)


def lab_of_print(pixels):
    """Mean CIELAB under D50, as profiles count it: Bradford's matrix from D65."""
    xyz = srgb_to_linear(pixels).reshape(-1, 3) @ np.array(
        [
            [0.4360747, 0.2225045, 0.0139322],
            [0.3850649, 0.7168786, 0.0971045],
            [0.1430804, 0.0606169, 0.7141733],
        ]
    )
    x, y, z = np.cbrt(xyz / [0.9642, 1.0, 0.8249]).mean(axis=0)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


def assert_same_colour(pixels, expected, within=1.0):
    np.testing.assert_allclose(mean_lab(pixels), mean_lab(expected), atol=within)


def refused(source, **options):
    with pytest.raises(ImageError) as caught:
        read_picture(source, **options)
    return caught.value


# Sources and round trips.

pictures = arrays.arrays(np.uint8, st.tuples(st.integers(32, 40), st.integers(32, 40), st.just(3)))


@settings(max_examples=25)
@given(pictures)
def test_an_array_is_read_as_it_is(pixels):
    before = pixels.copy()
    picture = read_picture(pixels)
    np.testing.assert_array_equal(picture.pixels, before)
    np.testing.assert_array_equal(pixels, before)
    assert (picture.height, picture.width) == pixels.shape[:2]
    assert picture.has_colour == bool((pixels != pixels[..., :1]).any())


@settings(max_examples=25)
@given(pictures, st.sampled_from(EXACT))
def test_lossless_files_keep_every_value(pixels, kind):
    picture = read_picture(encoded(Image.fromarray(pixels), kind, **FINE[kind]))
    np.testing.assert_array_equal(picture.pixels, pixels)


def test_every_kind_of_source_gives_the_same(tmp_path):
    path = tmp_path / "mark.png"
    path.write_bytes(encoded(IMAGE, "PNG"))
    data = path.read_bytes()
    with path.open("rb") as file, Image.open(path) as image:
        sources = [path, str(path), data, bytearray(data), memoryview(data), file, image, PIXELS]
        for source in [*sources, io.BytesIO(data), Image.fromarray(PIXELS)]:
            picture = read_picture(source)
            np.testing.assert_array_equal(picture.pixels, PIXELS)
            assert (picture.width, picture.height, picture.notes) == (96, 64, ())
    assert path.read_bytes() == data


def test_pixels_are_contiguous_bytes():
    turned = read_picture(encoded(IMAGE, "PNG", exif=exif(6)))
    sliced = read_picture(np.zeros((80, 80, 6), np.uint8)[::2, ::2, ::2])
    for picture in (turned, sliced):
        assert picture.pixels.flags.c_contiguous
        assert picture.pixels.dtype == np.uint8


def test_pixels_cannot_be_changed_and_the_source_still_can():
    array = skin_with_a_mark()
    for source in (array, PNG, JPEG):
        with pytest.raises(ValueError, match="read-only"):
            read_picture(source).pixels[0, 0] = 0
    array[0, 0] = 0


def test_a_pillow_image_stays_as_it_was():
    image = Image.open(io.BytesIO(encoded(IMAGE.convert("RGBA"), "PNG", exif=exif(6))))
    read_picture(image)
    assert (image.mode, image.size, image.getexif()[0x0112]) == ("RGBA", (96, 64), 6)


# Decoding small.


@settings(max_examples=40)
@given(st.integers(32, 260), st.integers(32, 260), st.integers(1, 300))
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_keeps_the_side(height, width, side):
    data = encoded(Image.new("RGB", (width, height), SKIN), "JPEG")
    eighths = next((n for n in range(1, 8) if -(-min(height, width) * n // 8) >= side), 8)
    picture = read_picture(data, decode_side=side)
    assert picture.pixels.shape[:2] == (-(-height * eighths // 8), -(-width * eighths // 8))
    assert (picture.height, picture.width) == (height, width)
    assert_same_colour(picture.pixels, np.array([SKIN], np.uint8))


def test_a_small_decode_is_upright_too():
    data = encoded(Image.fromarray(skin_with_a_mark(400, 800)), "JPEG", exif=exif(6))
    picture = read_picture(data, decode_side=100)
    assert picture.pixels.shape == (200, 100, 3)
    assert (picture.height, picture.width) == (800, 400)


def test_a_small_decode_keeps_the_colours():
    pixels = skin_with_a_mark(480, 640)
    for options in ({}, {"progressive": True}, {"quality": 95, "subsampling": 2}):
        data = encoded(Image.fromarray(pixels), "JPEG", **options)
        assert_same_colour(read_picture(data, decode_side=60).pixels, pixels, within=0.5)


@pytest.mark.parametrize("kind", EXACT)
def test_other_formats_are_decoded_whole(kind):
    assert read_picture(encoded(IMAGE, kind), decode_side=32).pixels.shape == PIXELS.shape


# Orientation.

# EXIF 2.32, tag 274: where row 0 and column 0 of the file lie in the upright picture.
STORED = {
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: np.rot90(upright, 2),  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.swapaxes(0, 1),  # left, top
    6: lambda upright: np.rot90(upright, 1),  # right, top
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),  # right, bottom
    8: lambda upright: np.rot90(upright, -1),  # left, bottom
}


@pytest.mark.parametrize("kind", WITH_METADATA)
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_is_turned_upright(kind, orientation):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](PIXELS)))
    data = encoded(stored, kind, exif=exif(orientation).tobytes(), **FINE[kind])
    for source in (data, Image.open(io.BytesIO(data))):
        picture = read_picture(source)
        assert (picture.width, picture.height) == (96, 64)
        np.testing.assert_allclose(picture.pixels.astype(int), PIXELS, atol=4)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0MM\0*\0\0",
        b"Exif\0\0" + bytes(range(200)),
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 20,
        b"Exif\0\0" + exif(9).tobytes()[6:],
    ],
    ids=["empty", "cut", "junk", "too many tags", "orientation 9"],
)
def test_a_corrupt_exif_block_is_ignored(block):
    data = encoded(IMAGE, "JPEG", exif=block, **FINE["JPEG"])
    np.testing.assert_allclose(read_picture(data).pixels.astype(int), PIXELS, atol=4)


def test_the_corrupt_exif_block_of_an_avif_is_ignored_and_its_turn_kept():
    block = exif(6)
    block[0x010F] = "maker"
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](PIXELS)))
    data = bytearray(encoded(stored, "AVIF", exif=block, **FINE["AVIF"]))
    start = data.index(b"II*\0" if b"II*\0" in data else b"MM\0*")
    data[start : start + 4] = b"JUNK"
    np.testing.assert_allclose(read_picture(bytes(data)).pixels.astype(int), PIXELS, atol=4)


# Transparency, palettes, grey, deep pixels.


def test_transparent_pixels_lie_over_neutral_grey():
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:, :32], alpha[:, 32:64] = 0, 51
    picture = read_picture(encoded(Image.fromarray(np.dstack([PIXELS, alpha])), "PNG"))
    assert (picture.pixels[:, :32] == 128).all()
    # A fifth of the skin and four fifths of 128, by hand.
    np.testing.assert_allclose(picture.pixels[40, 40].astype(int), [142, 132, 128], atol=1)
    np.testing.assert_array_equal(picture.pixels[40, 80], SKIN)


def test_a_transparent_colour_of_a_file_without_alpha():
    picture = read_picture(encoded(IMAGE, "PNG", transparency=MARK))
    assert (picture.pixels[0, 0] == 128).all()
    np.testing.assert_array_equal(picture.pixels[-1, -1], SKIN)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_palettes(kind):
    picture = read_picture(encoded(IMAGE.quantize(2), kind))
    assert_same_colour(picture.pixels, PIXELS)
    assert picture.has_colour


def test_a_palette_with_a_transparent_entry():
    palette = IMAGE.quantize(2)
    clear = palette.getpixel((0, 0))
    for options in ({"transparency": clear}, {"transparency": bytes([255, 255])}):
        picture = read_picture(encoded(palette, "PNG", **options))
        grey = (picture.pixels[0, 0] == 128).all()
        assert grey == (options["transparency"] == clear)
        assert_same_colour(picture.pixels[-8:], PIXELS[-8:])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_files_have_no_colour(mode, kind):
    ramp = np.linspace(0, 65535, 64 * 96).reshape(64, 96)
    deep = Image.fromarray(ramp.astype(np.uint16))
    image = deep if mode == "I;16" else Image.fromarray((ramp / 257).astype(np.uint8)).convert(mode)
    picture = read_picture(encoded(image, kind))
    assert not picture.has_colour
    assert picture.pixels.shape == (64, 96, 3)
    if mode != "1":
        np.testing.assert_allclose(picture.pixels[..., 0], ramp / 257, atol=1.01)


def test_grey_jpegs_have_no_colour():
    assert not read_picture(encoded(IMAGE.convert("L"), "JPEG")).has_colour
    assert not read_picture(encoded(IMAGE.convert("L").convert("RGB"), "JPEG")).has_colour


@pytest.mark.parametrize("kind", ["WEBP", "JPEG", "AVIF"])
@pytest.mark.parametrize("quality", [10, 80])
def test_grey_stays_grey_through_lossy_files(kind, quality):
    ramp = np.linspace(0, 255, 64 * 96).reshape(64, 96).astype(np.uint8)
    grey = Image.fromarray(np.stack([ramp] * 3, axis=-1))
    assert not read_picture(encoded(grey, kind, quality=quality)).has_colour


def test_one_coloured_pixel_is_colour():
    pixels = np.full((64, 64, 3), 90, np.uint8)
    pixels[17, 33, 2] = 90 + GREY_LEVELS
    assert not read_picture(pixels).has_colour
    pixels[17, 33, 2] += 1
    assert read_picture(pixels).has_colour


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_are_scaled_not_clipped(suffix, alpha):
    ramp = np.linspace(300, 65535, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint16)
    deep = np.dstack([ramp[..., ::-1], np.full((64, 64), 65535, np.uint16)])
    _, data = cv2.imencode(suffix, deep if alpha else ramp[..., ::-1])
    picture = read_picture(data.tobytes())
    np.testing.assert_allclose(picture.pixels, ramp / 257, atol=1.0)


def test_the_first_frame_of_several_is_read_and_said():
    other = Image.new("RGB", IMAGE.size, (0, 0, 255))
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(IMAGE, kind, save_all=True, append_images=[other])
        picture = read_picture(data)
        assert_same_colour(picture.pixels, PIXELS)
        assert picture.notes == (ReadingNote.FIRST_FRAME,)


# Colour profiles and inks.


def fixed(*numbers):
    return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)


def profile(space, tags, kind=b"mntr", connection=b"XYZ ", intent=0):
    """An ICC profile (ICC.1:2010) of the given tags, by hand."""
    body, table = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI", start + len(body), b"\0" * 4, 0x04300000)
    header += kind + space + connection + struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp"
    header += bytes(24) + struct.pack(">I", intent) + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def matrix_profile(red, green, blue, curve):
    xyz = {
        name + b"XYZ": b"XYZ \0\0\0\0" + fixed(*column)
        for name, column in zip((b"r", b"g", b"b"), (red, green, blue), strict=True)
    }
    curves = {name + b"TRC": b"para\0\0\0\0" + curve for name in (b"r", b"g", b"b")}
    white = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249)}
    return profile(b"RGB ", {**white, **xyz, **curves})


SRGB_CURVE = struct.pack(">HH", 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
# Colorants relative to D50, as the makers of the two spaces publish them.
DISPLAY_P3 = matrix_profile(
    (0.51512, 0.24120, -0.00105),
    (0.29198, 0.69225, 0.04189),
    (0.15710, 0.06657, 0.78407),
    SRGB_CURVE,
)
ADOBE_RGB = matrix_profile(
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
    struct.pack(">HH", 0, 0) + fixed(563 / 256),
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def recoloured(skin, mark):
    pixels = PIXELS.copy()
    pixels[(PIXELS == SKIN).all(axis=-1)] = skin
    pixels[(PIXELS == MARK).all(axis=-1)] = mark
    return Image.fromarray(pixels)


# SKIN and MARK in Display P3, as color.js converts them; in Adobe RGB, by its matrix by hand.
WIDE = {
    "Display P3": (DISPLAY_P3, recoloured((191, 150, 132), (186, 91, 99))),
    "Adobe RGB": (ADOBE_RGB, recoloured((185, 147, 129), (175, 85, 97))),
}


@pytest.mark.parametrize("kind", WITH_METADATA)
@pytest.mark.parametrize("space", WIDE)
def test_a_wide_profile_is_brought_to_srgb(kind, space):
    icc, image = WIDE[space]
    data = encoded(image, kind, icc_profile=icc, **FINE[kind])
    for source in (data, Image.open(io.BytesIO(data))):
        picture = read_picture(source, decode_side=64)
        # Y, Cb, Cr of eight bits cannot hold every colour of Adobe RGB to the last digit.
        within = 1.0 if kind in EXACT else 1.5
        assert_same_colour(picture.pixels[:8, :8], np.array([MARK], np.uint8), within)
        assert_same_colour(picture.pixels[-8:, -8:], np.array([SKIN], np.uint8), within)
        assert picture.notes == ()


def test_a_wide_profile_under_transparency_and_palette():
    icc, image = WIDE["Display P3"]
    clear = np.dstack([np.asarray(image), np.full((64, 96), 255, np.uint8)])
    clear[:, 60:, 3] = 0
    picture = read_picture(encoded(Image.fromarray(clear), "PNG", icc_profile=icc))
    assert (picture.pixels[:, 60:] == 128).all()
    assert_same_colour(picture.pixels[:8, :8], np.array([MARK], np.uint8))
    picture = read_picture(encoded(image.quantize(2), "PNG", icc_profile=icc))
    assert_same_colour(picture.pixels, PIXELS)


def test_an_srgb_profile_changes_nothing():
    picture = read_picture(encoded(IMAGE, "PNG", icc_profile=SRGB))
    np.testing.assert_array_equal(picture.pixels, PIXELS)


@pytest.mark.parametrize(
    "icc", [b"junk", DISPLAY_P3[:200], SRGB[:128] + bytes(400)], ids=["junk", "cut", "no tags"]
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_broken_profile_is_noted_and_taken_as_srgb(icc, kind):
    picture = read_picture(encoded(IMAGE, kind, icc_profile=icc, **FINE[kind]))
    assert_same_colour(picture.pixels, PIXELS)
    assert picture.notes == (ReadingNote.BROKEN_PROFILE,)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_profile_of_grey_is_no_fault(mode):
    curve = b"curv\0\0\0\0\0\0\0\0"
    icc = profile(b"GRAY", {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249), b"kTRC": curve})
    picture = read_picture(encoded(IMAGE.convert(mode), "PNG", icc_profile=icc))
    assert (picture.has_colour, picture.notes) == (False, ())


def test_a_profile_of_other_channels_is_broken():
    picture = read_picture(encoded(IMAGE.convert("CMYK"), "JPEG", icc_profile=DISPLAY_P3))
    assert picture.notes == (ReadingNote.BROKEN_PROFILE, ReadingNote.CMYK_WITHOUT_PROFILE)


def inks(pixels):
    """CMYK bytes (H, W, 4) whose complements are ``pixels``, a third of the grey in black."""
    black = (255 - pixels.max(axis=-1, keepdims=True).astype(float)) / 3
    rest = 255 - pixels * 255.0 / (255 - black)
    return np.rint(np.concatenate([rest, black], axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_inks_without_a_profile_are_complements(kind):
    image = Image.fromarray(inks(PIXELS), "CMYK")
    data = encoded(image, kind, **FINE[kind])
    for source in (data, image):
        picture = read_picture(source)
        assert_same_colour(picture.pixels, PIXELS)
        assert picture.notes == (ReadingNote.CMYK_WITHOUT_PROFILE,)


def test_ycck_as_adobe_writes_it():
    cmyk = inks(PIXELS)
    # Adobe stores complements; YCCK codes the first three as Y, Cb, Cr of what is left of white.
    ycc = np.asarray(Image.fromarray(cmyk[..., :3]).convert("YCbCr"))
    stored = Image.fromarray(np.dstack([255 - ycc, cmyk[..., 3]]), "CMYK")
    data = bytearray(encoded(stored, "JPEG", **FINE["JPEG"]))
    assert data[data.index(b"Adobe") + 11] == 0
    data[data.index(b"Adobe") + 11] = 2
    assert_same_colour(read_picture(bytes(data)).pixels, PIXELS)
    assert_same_colour(read_picture(bytes(data), decode_side=32).pixels, PIXELS)


def test_a_jpeg_of_red_green_blue():
    data = encoded(IMAGE, "JPEG", keep_rgb=True, **FINE["JPEG"])
    assert_same_colour(read_picture(data).pixels, PIXELS)


def ink_table(magenta_on_yellow):
    """A lut8 tag: white paper, one overprint of the given CIELAB, black for all else."""
    lab = [(0.0, 0.0, 0.0)] * 16
    lab[0b0000], lab[0b0110] = (96.0, 0.0, 0.0), magenta_on_yellow
    nodes = bytes(round(value) for light, a, b in lab for value in (light * 2.55, a + 128, b + 128))
    identity = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    straight = bytes(range(256))
    return b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + straight * 4 + nodes + straight * 3


@pytest.mark.parametrize("intent", [0, 1])
def test_inks_by_their_profile_and_its_intent(intent):
    tags = {b"A2B0": ink_table((55.0, -25.0, 20.0)), b"A2B1": ink_table((55.0, 45.0, 25.0))}
    icc = profile(b"CMYK", tags, kind=b"prtr", connection=b"Lab ", intent=intent)
    flat = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    picture = read_picture(encoded(flat, "JPEG", icc_profile=icc, **FINE["JPEG"]))
    expected = [(55.0, -25.0, 20.0), (55.0, 45.0, 25.0)][intent]
    np.testing.assert_allclose(lab_of_print(picture.pixels), expected, atol=1.0)
    assert picture.notes == ()


# Bad input.

JPEG = encoded(IMAGE, "JPEG")
PNG = encoded(IMAGE, "PNG")


@pytest.mark.parametrize("kind", [*FINE, "GIF"])
def test_a_file_cut_in_half_is_refused(kind):
    noisy = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noisy, kind)
    error = refused(data[: len(data) // 2])
    assert error.reason is UnreadableReason.TRUNCATED
    assert str(error).startswith("<bytes>: the file is damaged or cut off")
    assert "copy it again" in str(error)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"icc_profile": DISPLAY_P3}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_without_its_end_is_refused(options, mode):
    data = encoded(Image.fromarray(skin_with_a_mark(256, 256)).convert(mode), "JPEG", **options)
    for cut in (len(data) - 2, len(data) * 3 // 4):
        for side in (None, 32):
            assert refused(data[:cut], decode_side=side).reason is UnreadableReason.TRUNCATED


def test_a_jpeg_whose_middle_is_lost_is_refused():
    noisy = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    data = encoded(Image.fromarray(noisy), "JPEG")
    assert refused(data[:8000] + data[-2:]).reason is UnreadableReason.TRUNCATED


@pytest.mark.parametrize(
    ("data", "reason", "mend"),
    [
        pytest.param(b"", "truncated", "copy it again", id="empty"),
        (b"\0" * 500, "not_an_image", "use JPEG"),
        (b"<html>no picture</html>", "not_an_image", "use JPEG"),
        (b"BM is how this text begins, and on it goes", "not_an_image", "use JPEG"),
        (b"\xff\xd8\xff", "truncated", "copy it again"),
        (JPEG[:40], "truncated", "copy it again"),
        (PNG[:8], "truncated", "copy it again"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "truncated", "copy it again"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "unsupported", "a film"),
        (encoded(IMAGE, "TIFF", tiffinfo={254: 1}), "unsupported", "export a JPEG"),
        (encoded(Image.new("F", (64, 64)), "TIFF"), "unsupported", "save it again"),
        (encoded(Image.new("I", (64, 64)), "TIFF"), "unsupported", "save it again"),
        (encoded(Image.new("RGB", (31, 500)), "PNG"), "too_small", "at least 32"),
        (encoded(Image.new("RGB", (500, 31)), "JPEG"), "too_small", "at least 32"),
    ],
)
def test_bad_bytes_get_a_reason_and_a_mend(data, reason, mend):
    error = refused(data)
    assert error.reason == reason
    assert error.name == "<bytes>"
    assert mend in error.detail
    assert "\n" not in str(error)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"]])
def test_no_source_at_all(source):
    error = refused(source)
    assert error.reason is UnreadableReason.NOT_AN_IMAGE
    assert "give a path" in error.detail


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((3, 64, 64), np.uint8),
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint16),
        np.zeros((64, 64, 3), object),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_of_another_kind_is_refused(array):
    error = refused(array)
    assert (error.reason, error.name) == (UnreadableReason.UNSUPPORTED, "<array>")
    assert "give uint8 of shape (height, width, 3)" in error.detail


def test_small_arrays_and_images_are_refused():
    assert refused(np.zeros((31, 64, 3), np.uint8)).reason is UnreadableReason.TOO_SMALL
    assert refused(np.zeros((0, 0, 3), np.uint8)).reason is UnreadableReason.TOO_SMALL
    error = refused(Image.new("RGB", (64, 31)))
    assert (error.reason, error.name) == (UnreadableReason.TOO_SMALL, "<image>")


def test_a_closed_or_cut_pillow_image_is_refused():
    cut = Image.open(io.BytesIO(encoded(IMAGE.resize((300, 300)), "BMP")[:-5000]))
    assert refused(cut).reason is UnreadableReason.TRUNCATED
    closed = Image.open(io.BytesIO(PNG))
    closed.close()
    assert isinstance(refused(closed), ImageError)


def test_paths_that_hold_no_picture(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path / "absent.jpg": ("missing", "check the path"),
        tmp_path: ("not_an_image", "name a picture file"),
        tmp_path / "pipe": ("not_an_image", "name a picture file"),
        "nul\0byte.jpg": ("missing", "check the path"),
        "x" * 5000: ("missing", "check the path"),
        "": ("not_an_image", "name a picture file"),
    }
    for source, (reason, mend) in cases.items():
        error = refused(source)
        assert (error.reason, error.name) == (reason, str(source))
        assert mend in error.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "mine.png"
    path.write_bytes(PNG)
    path.chmod(0)
    assert refused(path).reason is UnreadableReason.FORBIDDEN


def test_files_opened_wrongly(tmp_path):
    path = tmp_path / "mark.png"
    path.write_bytes(PNG)
    with path.open(encoding="latin-1") as text:
        error = refused(text)
        assert (error.reason, error.name) == (UnreadableReason.NOT_AN_IMAGE, str(path))
        assert "'rb'" in error.detail
    with path.open("rb") as file:
        pass
    assert refused(file).reason is UnreadableReason.MISSING


# Bounds, from the header alone: none of these files holds the pixels it promises.


def png_of(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return start + struct.pack(">I", zlib.crc32(header)) + rest


def jpeg_of(width, height, **options):
    data = bytearray(encoded(IMAGE, "JPEG", **options))
    frame = data.index(b"\xff\xc2" if options else b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [
        png_of(10_000, 6_401),
        png_of(2**31 - 1, 2**31 - 1),
        jpeg_of(20_000, 10_001),
        jpeg_of(65_500, 65_500),
        jpeg_of(10_000, 6_401, progressive=True),
    ],
    ids=["PNG", "largest PNG", "JPEG", "largest JPEG", "progressive JPEG"],
)
def test_too_many_pixels_are_refused_before_decoding(data):
    error = refused(data, decode_side=128)
    assert error.reason is UnreadableReason.TOO_LARGE
    assert "save the picture smaller" in error.detail


def scanned(times, width, height):
    """A progressive JPEG whose last scan is repeated, of a size that it does not hold."""
    data = jpeg_of(width, height, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + data[-2:]


def test_scans_that_pass_over_many_pixels_are_bounded():
    assert refused(scanned(5000, 4000, 3000)).reason is UnreadableReason.TOO_LARGE
    assert refused(scanned(5, 4000, 3000)).reason is UnreadableReason.TRUNCATED


def test_scans_are_counted_as_the_decoder_counts_them():
    drawn = Image.effect_noise((640, 480), 90).convert("RGB")
    whole, parts = io.BytesIO(), io.BytesIO()
    drawn.save(whole, "JPEG", quality=95)
    drawn.save(parts, "JPEG", quality=95, progressive=True)
    assert _scans(whole.getvalue()) == 1
    assert _scans(parts.getvalue()) == parts.getvalue().count(b"\xff\xda") > 1
    # Components one by one: more scans follow, though the file is sequential.
    data = bytearray(whole.getvalue())
    start = data.index(b"\xff\xda")
    data[start + 4] = 1
    assert _scans(bytes(data[:-2]) + bytes(data[start:-2]) * 3 + b"\xff\xd9") == 4


def test_scans_of_a_thumbnail_do_not_count():
    thumbnail = encoded(IMAGE, "JPEG", progressive=True)
    block = exif(1).tobytes() + thumbnail * 3
    data = bytearray(encoded(IMAGE, "JPEG", exif=block))
    frame = data.rindex(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 10_000, 6_401)
    assert refused(bytes(data)).reason is UnreadableReason.TRUNCATED  # not too large


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP", b"iTXt"])
def test_what_unpacks_without_bound_is_refused(name):
    packed = zlib.compress(bytes(200_000_000))
    body = name + (b"c\0\1\0\0\0" if name == b"iTXt" else b"c\0\0") + packed
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    data = png_of(64, 64)
    error = refused(data[:33] + chunk + data[33:])
    assert error.reason is UnreadableReason.TOO_LARGE
    assert "unpacks without bound" in error.detail


def test_a_baseline_jpeg_may_be_larger_than_what_is_decoded_whole():
    assert refused(jpeg_of(10_000, 6_401)).reason is UnreadableReason.TRUNCATED


def test_too_many_bytes_are_refused(tmp_path):
    path = tmp_path / "mark.png"
    path.write_bytes(PNG)
    limits = Limits(max_bytes=len(PNG) - 1)
    for source in (path, PNG, io.BytesIO(PNG)):
        error = refused(source, limits=limits)
        assert error.reason is UnreadableReason.TOO_LARGE
        assert f"{len(PNG) - 1:,} bytes" in error.detail
    assert read_picture(path, limits=Limits(max_bytes=len(PNG))).width == 96


def test_limits_can_be_told():
    limits = Limits.of(max_pixels=96 * 64 - 1)
    assert {refused(data, limits=limits).reason for data in (PNG, JPEG)} == {"too_large"}
    assert read_picture(PNG, limits=Limits.of(96 * 64, len(PNG))).width == 96
    assert Limits.of() == Limits()
    assert refused(PNG, limits=Limits(max_pixels_whole=96 * 64 - 1)).reason == "too_large"
    assert refused(JPEG, limits=Limits(max_pixels=96 * 64 - 1)).reason == "too_large"
    assert refused(PIXELS, limits=Limits(max_pixels=96 * 64 - 1)).reason == "too_large"
    assert refused(PNG, limits=Limits(min_side=65)).reason == "too_small"
    assert read_picture(np.zeros((8, 8, 3), np.uint8), limits=Limits(min_side=8)).width == 8


# Whatever a file holds, it is a picture or an ImageError.


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_refused():
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 40, 3), np.uint8))
    files = [encoded(noisy, kind) for kind in [*FINE, "GIF"]]
    files.append(encoded(noisy, "JPEG", exif=exif(6), icc_profile=SRGB))
    random = np.random.default_rng(2)
    for data, swapped, _ in itertools.product(files, files, range(4)):
        mutant = bytearray(data)
        for place in random.integers(0, len(data), 3):
            mutant[place] ^= 1 << int(random.integers(8))
        mutant[: int(random.integers(16))] = swapped[: int(random.integers(16))]
        mutant = mutant[: int(random.integers(len(mutant) // 2, 2 * len(mutant)))]
        try:
            picture = read_picture(bytes(mutant), decode_side=32)
        except ImageError as error:
            assert error.name == "<bytes>"
        else:
            assert isinstance(picture, Picture)
            assert picture.pixels.dtype == np.uint8
            assert min(picture.pixels.shape[:2]) >= 32
