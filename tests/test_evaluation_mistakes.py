from io import BytesIO

import pytest
from PIL import Image
from test_evaluation import BROWN, NEITHER, OTHER, RED, judged, write_manifest

from diascope.errors import OutputError
from diascope.evaluation import Plan
from diascope.evaluation.mistakes import MOST, check_may_show, thumbnails, worst_mistakes
from diascope.figures import Mistake
from diascope.labels import Verdict
from diascope.renderer import render

WRONG = judged(RED, Verdict.HYPERPIGMENTED, 0.2, 0.7)


def test_the_surest_of_the_wrong_colours_come_first():
    surer = judged(BROWN, Verdict.ERYTHEMATOUS, 0.9, 0.05)
    fine = [
        judged(RED, Verdict.ERYTHEMATOUS, 0.9, 0.1),
        judged(RED, Verdict.UNCLEAR, 0.4, 0.6),
        judged(NEITHER, Verdict.ERYTHEMATOUS, 0.9, 0.1),
        judged(OTHER, Verdict.HYPERPIGMENTED, 0.1, 0.9),
    ]
    found = worst_mistakes([WRONG, *fine, surer])
    assert [each.path for each in found] == [surer.path, WRONG.path]
    assert [each.probability for each in found] == [0.9, 0.7]
    assert (found[0].mark_type, found[0].verdict) == (BROWN, Verdict.ERYTHEMATOUS)


def test_there_is_an_end_of_them():
    assert len(worst_mistakes([WRONG] * 40)) == MOST


def mistake(path):
    return Mistake(
        path=path, source="", condition="", mark_type=RED, verdict=Verdict.UNCLEAR, probability=0.9
    )


def test_a_thumbnail_is_small_and_carries_nothing_of_the_file(tmp_path):
    manifest = write_manifest(tmp_path, [(RED, "a", "", render(1, 4, 64).pixels, None)])
    exif = Image.Exif()
    exif[0x010E] = "Anna, room 4"
    large = Image.effect_noise((900, 600), 80).convert("RGB")
    large.save(tmp_path / "000.png", exif=exif)
    (path, content) = next(iter(thumbnails([mistake("000.png")], manifest).items()))
    with Image.open(BytesIO(content)) as image:
        assert (path, image.format, image.size) == ("000.png", "JPEG", (240, 160))
        assert not image.getexif()
    assert b"Anna" not in content


def test_what_may_not_be_passed_on_is_never_shown(tmp_path):
    folder = tmp_path / "shared" / "photos"
    folder.mkdir(parents=True)
    manifest = write_manifest(folder, [(RED, "a", "", render(1, 4, 64).pixels, None)])
    with pytest.raises(OutputError, match="never put into a page"):
        check_may_show(manifest.path)
    with pytest.raises(OutputError, match="never put into a page"):
        thumbnails([mistake("000.png")], manifest)
    check_may_show(tmp_path / "manifest.csv")


def test_nor_is_it_through_a_link_from_elsewhere(tmp_path):
    folder, elsewhere = tmp_path / "shared" / "photos", tmp_path / "mine"
    folder.mkdir(parents=True)
    elsewhere.mkdir()
    manifest = write_manifest(elsewhere, [(RED, "a", "", render(1, 4, 64).pixels, None)])
    (elsewhere / "000.png").rename(folder / "000.png")
    (elsewhere / "000.png").symlink_to(folder / "000.png")
    with pytest.raises(OutputError, match="never put into a page"):
        thumbnails([mistake("000.png")], manifest)
    with pytest.raises(OutputError, match="never put into a page"):
        Plan.read(manifest.path, None, show_mistakes=True)
    assert Plan.read(manifest.path, None).manifest is not None
