import re
from base64 import b64decode
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from test_evaluation import BROWN, NEITHER, OTHER, RED, write_manifest

from diascope import evaluation
from diascope.config import load_sweep
from diascope.evaluation import evaluate, evaluation_of, sweep_tones
from diascope.figures import Evaluation, Measure, MeasureName
from diascope.inference import Predictor
from diascope.labels import INTENDED_USE
from diascope.renderer import render
from diascope.report import ALIKE, FEW, page, percent, summary, told

HOSTILE = '"><script>alert(1)</script>$x_{'


class Reader(HTMLParser):
    """Text, images and every address of a page; knows whether tags are closed."""

    def __init__(self):
        super().__init__()
        self.text, self.open, self.images, self.addresses, self.tags = [], [], [], [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        attributes = dict(attrs)
        self.addresses += [attributes[key] for key in ("src", "href") if key in attributes]
        if tag == "img":
            self.images.append(attributes)
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


@pytest.fixture(scope="module")
def whole(predictor, tmp_path_factory, repo_root):
    """A run on drawn pictures whose source and condition are hostile, and on a small sweep."""
    labels = [(RED, BROWN, NEITHER)[n % 3] for n in range(45)]
    rows = [(label, HOSTILE, "", render(n, 41, 64, mark_type=label).pixels, None)
            for n, label in enumerate(labels)]  # fmt: skip
    rows += [(OTHER, "ward", "", render(n, 41, 64).pixels, None) for n in (50, 51)]
    rows += [(RED, "ward", "", b"not a picture", None)]
    manifest = write_manifest(tmp_path_factory.mktemp("report"), rows)
    pictures = evaluate(predictor, manifest, join_copies=False, sturdiness=True)
    sweep = load_sweep(repo_root / "configs" / "sweep.toml").model_copy(
        update={"marks": 2, "size": 64, "ita_edges": [60.0, 0.0, -50.0]}
    )
    drawn = sweep_tones(predictor, sweep)
    return evaluation_of(predictor.bundle, f"diascope {HOSTILE}", pictures=pictures, sweep=drawn)


@pytest.fixture(scope="module")
def html(whole):
    return page(whole)


def test_its_first_line_says_what_it_can_and_cannot_do(html):
    _title, first, *_ = [line for line in read(html).text if line.strip()]
    assert "red or brown" in first
    assert "how often it is right stands below" in first  # no promise
    assert "cannot tell what the mark is" in first
    assert INTENDED_USE in " ".join(html.split())


def test_the_gap_between_tones_comes_before_any_other_figure(html, whole):
    lines = summary(whole)
    assert lines[0].startswith("Skin tone, drawn marks")
    assert lines[1].startswith("Skin tone, photographs")
    assert html.index("Gap between tones") < html.index("Red against brown")


def test_a_colour_given_to_unmarked_skin_stands_in_the_summary(whole, predictor, tmp_path):
    found = whole.pictures.overall.measures[MeasureName.NEITHER_GIVEN_A_COLOUR]
    assert found.n == 15
    (line,) = (each for each in summary(whole) if "without a mark" in each)
    assert f"it gives {percent(found)} a colour" in line
    rows = [(RED, "a", "", render(n, 43, 64, mark_type=RED).pixels, None) for n in range(3)]
    pictures = evaluate(predictor, write_manifest(tmp_path, rows), join_copies=False)
    red = evaluation_of(predictor.bundle, "diascope", pictures=pictures, sweep=None)
    assert not any("without a mark" in each for each in summary(red))


def test_it_asks_nothing_of_the_network_and_runs_nothing(html):
    reader = read(html)
    assert all(address.startswith("data:image/") for address in reader.addresses)
    assert not {"script", "link", "iframe", "object", "form"} & reader.tags
    assert "default-src 'none'" in html
    assert "http" not in re.sub(r"data:[^\"]+|http-equiv|xmlns[^\"]+\"[^\"]+\"", "", html)


def test_words_of_a_manifest_are_text_and_nothing_else(html):
    assert "<script>alert" not in html
    assert HOSTILE in "".join(read(html).text)


def test_every_plot_is_whole_and_has_words(html, whole):
    images = read(html).images
    assert len(images) == 8  # two of the sweep; tones, ROC, reliability, risk, sources, flips
    assert all(len(image["alt"]) > 15 for image in images)
    for image in images:
        kind, _, content = image["src"].partition(";base64,")
        assert kind == "data:image/svg+xml"
        root = ElementTree.fromstring(b64decode(content))
        assert root.tag.endswith("svg")
        assert b"<script" not in b64decode(content)


def test_the_same_figures_give_the_same_page(html, whole):
    again = Evaluation.model_validate_json(whole.model_dump_json())
    assert page(again) == html


def test_digests_command_and_unread_pictures_stand_on_it(html, whole):
    text = " ".join("".join(read(html).text).split())
    for word in (whole.model_digest, whole.pictures.data_digest, "diascope", "047.png"):
        assert word in text
    assert whole.pictures.unreadable[0].detail.split(";")[0] in text


def test_pictures_are_shown_only_where_they_are_given(html, whole):
    assert "data:image/jpeg" not in html
    assert "Named, not shown" in html
    paths = [each.path for each in whole.pictures.mistakes]
    shown = page(whole, {paths[0]: b"jpeg"})
    assert shown.count("data:image/jpeg;base64,anBlZw==") == 1
    assert "This page holds photographs" in shown


@pytest.mark.parametrize("left_out", ["pictures", "sweep"])
def test_a_part_that_was_not_measured_is_not_on_it(whole, left_out):
    html = page(whole.model_copy(update={left_out: None}))
    assert read(html).images
    assert ("Red against brown" in html) == (left_out == "sweep")
    assert ("the same marks on skins" in html) == (left_out == "pictures")


def test_a_model_that_saw_photographs_says_that_its_figures_may_flatter(whole):
    assert "flatters it" not in page(whole)
    seen = whole.model_copy(update={"learnt_photographs": 677})
    assert "learnt from 677 photographs" in page(seen)


def test_only_one_class_still_makes_a_page(predictor, tmp_path):
    rows = [(RED, "a", "", render(n, 43, 64, mark_type=RED).pixels, None) for n in range(3)]
    pictures = evaluate(predictor, write_manifest(tmp_path, rows), join_copies=False)
    found = page(evaluation_of(predictor.bundle, "diascope", pictures=pictures, sweep=None))
    assert "not measured: fewer than two groups" in " ".join("".join(read(found).text).split())


def test_numbers_in_cells():
    measure = Measure(value=0.12345, low=0.1, high=0.2, n=30, groups=3, note=None)
    assert told(measure) == "0.123 (0.100 to 0.200)"
    assert percent(measure) == "12.3 % (10.0 to 20.0)"
    few = measure.model_copy(update={"n": 29})
    assert told(few).endswith(FEW)
    assert percent(few).endswith(FEW)
    alike = measure.model_copy(update={"value": 1.0, "low": 1.0, "high": 1.0})
    assert told(alike) == f"1.000 (1.000 to 1.000) {ALIKE}"
    assert percent(alike).endswith(ALIKE)
    nothing = Measure(value=None, low=None, high=None, n=0, groups=0, note="no value: no rows")
    assert told(nothing) == percent(nothing) == "no value: no rows"


def test_the_page_s_name_is_evaluation_html():
    assert evaluation.PAGE == "evaluation.html"
