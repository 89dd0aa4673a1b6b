import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from diascope import Predictor
from diascope.errors import ImageError, ManifestError
from diascope.image import Limits
from diascope.scoring import ScoreInput, score_inputs, source_inputs
from diascope.scoring.archive import Held, held

KINDS = ["zip", "stored.zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz"]


def picture(seed):
    """A small PNG and its bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


CONTENT = {
    "b/two.png": picture(2),
    "notes.txt": b"no picture by its name",
    "a one.png": picture(1),
    "b/empty.png": b"",
    "text.jpg": b"no picture at all",
}
EXPECTED = ["b/two.png", "a one.png", "b/empty.png", "text.jpg"]


def pack(file, content=CONTENT):
    """An archive of the kind its name says."""
    if file.name.endswith("zip"):
        how = zipfile.ZIP_STORED if "stored" in file.name else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(file, "w", how) as archive:
            archive.mkdir("b")
            for name, data in content.items():
                archive.writestr(name, data)
        return file
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(
        file.name.rpartition(".")[2], "w"
    )
    with tarfile.open(file, mode) as archive:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file


def fetched(item, most=10**6):
    """The bytes of an input, or why there are none."""
    try:
        return item.file.fetch(most)
    except ImageError as error:
        return error.reason.value


@pytest.mark.parametrize("kind", KINDS)
class TestEveryKind:
    def test_members_in_their_order_with_their_own_bytes(self, tmp_path, kind):
        inputs = list(source_inputs(pack(tmp_path / f"x.{kind}")))
        assert [item.path for item in inputs] == EXPECTED
        for item in [*held(inputs, 10**6), *reversed(inputs)]:
            assert fetched(item) == CONTENT[item.path]

    def test_nothing_is_written_beside_it(self, tmp_path, kind):
        list(held(source_inputs(pack(tmp_path / f"x.{kind}")), 10**6))
        assert [path.name for path in tmp_path.iterdir()] == [f"x.{kind}"]

    def test_a_member_above_the_bound_is_refused_and_the_others_are_not(self, tmp_path, kind):
        most = len(CONTENT["a one.png"]) - 1
        inputs = list(source_inputs(pack(tmp_path / f"x.{kind}", {**CONTENT, "b/two.png": b"2"})))
        told = {item.path: fetched(item, most) for item in held(inputs, most)}
        assert told == {
            "b/two.png": b"2",
            "a one.png": "too_large",
            "b/empty.png": b"",
            "text.jpg": CONTENT["text.jpg"],
        }

    @pytest.mark.parametrize("name", ["/etc/x.png", "../x.png", "a/../../x.png", "C:\\x.png"])
    def test_a_member_that_points_outside_refuses_the_archive(self, tmp_path, kind, name):
        file = pack(tmp_path / f"x.{kind}", {"good.png": b"1", name: b"2"})
        with pytest.raises(ManifestError, match="points outside the archive"):
            list(source_inputs(file))

    def test_cut_anywhere_it_is_refused_or_its_rows_say_so(self, tmp_path, kind):
        whole = pack(tmp_path / f"x.{kind}").read_bytes()
        for share in (0.1, 0.5, 0.9):
            (tmp_path / f"cut.{kind}").write_bytes(whole[: int(len(whole) * share)])
            try:
                inputs = list(source_inputs(tmp_path / f"cut.{kind}"))
            except ManifestError as error:
                assert "not a whole archive" in str(error)
                continue
            for item in held(inputs, 10**6):
                assert fetched(item) in (CONTENT[item.path], "truncated")

    def test_no_archive(self, tmp_path, kind):
        (tmp_path / f"x.{kind}").write_bytes(b"this is no archive" * 100)
        with pytest.raises(ManifestError, match="not a whole archive"):
            list(source_inputs(tmp_path / f"x.{kind}"))
        with pytest.raises(ManifestError, match="no such archive"):
            list(source_inputs(tmp_path / f"gone.{kind}"))


def zeros(size):
    """A file of zeros, so large that only its head is ever made."""

    class Zeros(io.RawIOBase):
        def read(self, count=-1):
            return bytes(count)

    entry = tarfile.TarInfo("bomb.png")
    entry.size = size
    return entry, Zeros()


class TestBombs:
    def test_a_zip_that_unpacks_without_bound_is_refused(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for index in range(3):
                archive.writestr(f"{index}.png", bytes(99_000_000))
        with pytest.raises(ManifestError, match="unpacks to more than 200 times its size"):
            list(source_inputs(tmp_path / "x.zip"))

    def test_a_tar_gz_that_unpacks_without_bound_is_refused_before_it_does(self, tmp_path):
        import gzip

        entry, _ = zeros(10**13)
        with gzip.open(tmp_path / "x.tar.gz", "wb") as stream:
            stream.write(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
        with pytest.raises(ManifestError, match="unpacks to more than 200 times its size"):
            list(source_inputs(tmp_path / "x.tar.gz"))

    def test_a_header_without_bound_is_refused(self, tmp_path):
        import gzip

        entry, _ = zeros(10**12)
        entry.type = tarfile.GNUTYPE_LONGNAME
        with gzip.open(tmp_path / "x.tgz", "wb") as stream:
            stream.write(entry.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
        with pytest.raises(ManifestError, match="longer than any name"):
            list(source_inputs(tmp_path / "x.tgz"))

    def test_a_zip_member_that_lies_about_its_size_is_truncated(self, tmp_path):
        data = bytes(100_000)
        pack(tmp_path / "x.zip", {"a.png": data})
        raw = bytearray((tmp_path / "x.zip").read_bytes())
        place = raw.rfind(b"PK\x01\x02") + 24
        raw[place : place + 4] = (1000).to_bytes(4, "little")
        (tmp_path / "x.zip").write_bytes(raw)
        (item,) = source_inputs(tmp_path / "x.zip")
        assert fetched(item) == "truncated"


class TestWhatIsNoFile:
    def test_links_and_devices_are_never_followed(self, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w") as archive:
            for name, kind in [("s.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE)]:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = kind, "/etc/passwd"
                archive.addfile(entry)
            fifo = tarfile.TarInfo("f.png")
            fifo.type = tarfile.FIFOTYPE
            archive.addfile(fifo)
        assert [fetched(item) for item in source_inputs(tmp_path / "x.tar")] == ["unsupported"] * 3
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            link = zipfile.ZipInfo("s.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        assert [fetched(item) for item in source_inputs(tmp_path / "x.zip")] == ["unsupported"]

    def test_encrypted_and_rarely_packed_members(self, tmp_path):
        pack(tmp_path / "x.zip", {"a.png": b"1"})
        raw = bytearray((tmp_path / "x.zip").read_bytes())
        raw[raw.rfind(b"PK\x01\x02") + 8] |= 1
        (tmp_path / "x.zip").write_bytes(raw)
        with zipfile.ZipFile(tmp_path / "y.zip", "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("a.png", b"1" * 100)
        for name in ("x.zip", "y.zip"):
            assert [fetched(item) for item in source_inputs(tmp_path / name)] == ["unsupported"]

    def test_a_damaged_byte_is_seen_by_its_checksum(self, tmp_path):
        pack(tmp_path / "x.stored.zip", {"a.png": picture(1)})
        raw = bytearray((tmp_path / "x.stored.zip").read_bytes())
        raw[raw.find(b"\x89PNG") + 300] ^= 1
        (tmp_path / "x.stored.zip").write_bytes(raw)
        (item,) = source_inputs(tmp_path / "x.stored.zip")
        assert fetched(item) == "truncated"


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_a_member_is_scored_as_the_file_is(untrained_bundle, tmp_path, kind):
    predictor = Predictor.load(untrained_bundle, threads=1, limits=Limits(max_bytes=10_000))
    content = {**CONTENT, "large.png": os.urandom(20_000)}
    file = pack(tmp_path / f"x.{kind}", content)
    rows = list(score_inputs(predictor, source_inputs(file), batch_size=2))
    alone = [predictor.predict(CONTENT[name]) for name in EXPECTED[:2]]
    assert [row.reason for row in rows[2:]] == ["truncated", "not_an_image", "too_large"]
    assert [row.p_neither for row in rows[:2]] == [each.class_probabilities[2] for each in alone]


def test_bytes_in_hand_make_small_batches(untrained_bundle):
    from diascope.scoring.engine import _batches

    big = [ScoreInput(str(n), str(n), Held(str(n), bytes(20_000_000))) for n in range(3)]
    few = [ScoreInput(str(n), str(n), Held(str(n), b"")) for n in range(3)]
    assert [len(batch) for batch in _batches([*big, *few], 32)] == [2, 4]


def test_more_bad_members_than_are_fetched_ahead_are_one_row_each(untrained_bundle, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(20):
            link = zipfile.ZipInfo(f"{number:02}.png")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "elsewhere.png")
        archive.writestr("good.png", picture(1))
    rows = list(score_inputs(Predictor.load(untrained_bundle), source_inputs(tmp_path / "x.zip")))
    assert [row.reason for row in rows[:20]] == ["unsupported"] * 20
    assert [(row.id, row.width) for row in rows[20:]] == [("good.png", 40)]


def test_a_folder_within_a_zip_is_no_picture_whatever_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.mkdir("holiday.jpg")
        archive.writestr("holiday.jpg/a.png", picture(1))
    assert [item.path for item in source_inputs(tmp_path / "x.zip")] == ["holiday.jpg/a.png"]


def test_members_of_a_compressed_tar_in_another_order_and_twice_have_their_own_bytes(tmp_path):
    inputs = list(source_inputs(pack(tmp_path / "x.tar.gz")))
    for item in held([*reversed(inputs), inputs[0], inputs[0]], 10**6):
        assert fetched(item) == CONTENT[item.path]
