import numpy as np
import pytest
from test_evaluation import BROWN, OTHER, RED, judged, write_manifest

from diascope.evaluation.judging import judge
from diascope.evaluation.sturdiness import Answer, ChangedRow, change_figures, measure_sturdiness
from diascope.evaluation.telling import sturdiness_table
from diascope.inference import Predictor
from diascope.labels import Verdict
from diascope.perturbation import Change
from diascope.progress import silent
from diascope.renderer import render

CALLED_RED, CALLED_BROWN = Verdict.ERYTHEMATOUS, Verdict.HYPERPIGMENTED
BLUR = Change.BLUR


def changed(label, verdict, brown, after=None, brown_after=None):
    """A row and what became of it; nothing after: it could not be read."""
    row = judged(label, verdict, 1 - brown, brown)
    found = {} if after is None else {BLUR: Answer(verdict=after, separation=brown_after)}
    return ChangedRow(**row.model_dump(), after=found)


def test_flips_losses_and_ranking_by_hand():
    rows = [
        changed(RED, CALLED_RED, 0.1, CALLED_BROWN, 0.9),  # flips
        changed(RED, CALLED_RED, 0.2, CALLED_RED, 0.3),
        changed(BROWN, CALLED_BROWN, 0.8, Verdict.UNCLEAR, 0.6),  # lost
        changed(BROWN, CALLED_BROWN, 0.9, CALLED_BROWN, 0.95),
        changed(BROWN, Verdict.UNCLEAR, 0.5, CALLED_RED, 0.4),  # never had a colour to flip
        changed(BROWN, CALLED_BROWN, 0.9),  # not read
    ]
    found = change_figures(BLUR, rows)
    assert (found.change, found.words, found.unreadable) == ("blur", BLUR.words, 1)
    assert (found.flips.value, found.flips.n) == (1 / 4, 4)
    assert (found.lost.value, found.lost.n) == (1 / 4, 4)
    # Brown 0.6, 0.95, 0.4 against red 0.9, 0.3: four of six pairs; before, all six.
    assert (found.auroc.value, found.auroc.n) == (pytest.approx(4 / 6), 5)
    assert found.loss.value == pytest.approx(2 / 6)
    # Beside each figure the pictures that it is of: those with a colour, and those read.
    header, line = sturdiness_table([found])
    told = dict(zip(header, line, strict=True))
    assert (told["of named"], told["n"]) == ("4", "5")
    assert told["red <-> brown"].startswith("0.250 [")
    assert told["AUROC after"].startswith("0.667 [")
    assert told["AUROC loss"].startswith("0.333 [")


def test_one_class_has_flips_but_no_ranking():
    found = change_figures(BLUR, [changed(RED, CALLED_RED, 0.1, CALLED_RED, 0.1)])
    assert found.flips.value == 0.0
    assert found.auroc.value is found.loss.value is None


@pytest.fixture(scope="module")
def predictor(untrained_bundle):
    return Predictor.load(untrained_bundle, threads=1)


def test_every_change_is_judged_as_the_predictor_judges_it(predictor, tmp_path):
    """A turned picture is turned by hand, box and all, and put to the predictor."""
    drawn = [render(n, 31, 96, mark_type=(RED, BROWN)[n % 2]).pixels for n in range(6)]
    rows = [((RED, BROWN)[n % 2], "a", "", pixels, None) for n, pixels in enumerate(drawn)]
    rows[0] = (RED, "a", "", drawn[0], (10, 20, 60, 70))
    rows += [(OTHER, "a", "", drawn[0], None)]
    manifest = write_manifest(tmp_path, rows)
    judged_rows, _ = judge(predictor, manifest.rows, silent)
    figures = measure_sturdiness(predictor, manifest.rows, judged_rows, workers=1, track=silent)
    assert [each.change for each in figures] == list(Change)
    turned = [predictor.predict(np.rot90(pixels)) for pixels in drawn]
    # Left, top, right, bottom of a picture 96 wide, turned to the left.
    turned[0] = predictor.predict(np.rot90(drawn[0]), box=(20, 36, 70, 86))
    decided = [
        (before.verdict, after.image_verdict)
        for before, after in zip(judged_rows, turned, strict=False)
        if not before.verdict.declines
    ]
    flips = [one is not other for one, other in decided if not other.declines]
    lost = [other.declines for _, other in decided]
    (found,) = (each for each in figures if each.change == Change.QUARTER_TURN)
    assert found.flips.n == len(decided) > 0
    assert found.flips.value == pytest.approx(sum(flips) / len(decided))
    assert found.lost.value == pytest.approx(sum(lost) / len(decided))
    # What carries its profile is the same picture.
    (p3,) = (each for each in figures if each.change == Change.DISPLAY_P3)
    assert p3.flips.value == 0.0
    assert abs(p3.loss.value) <= 0.12


def test_without_red_or_brown_nothing_is_measured(predictor, tmp_path):
    pixels = render(1, 31, 64).pixels
    manifest = write_manifest(tmp_path, [(OTHER, "a", "", pixels, None)])
    judged_rows, _ = judge(predictor, manifest.rows, silent)
    assert measure_sturdiness(predictor, manifest.rows, judged_rows, workers=1, track=silent) == ()
