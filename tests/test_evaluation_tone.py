from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_evaluation import BROWN, RED, judged

from diascope.dataset import ManifestRow
from diascope.errors import ManifestError
from diascope.evaluation.tone import auroc_gap, label_of, tone_scales
from diascope.figures import MeasureName
from diascope.labels import Verdict

ROW = ManifestRow("1", "1.png", Path("1.png"), RED, "", "", "1", None, {})


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({}, ""),
        ({"fitzpatrick": ""}, ""),
        ({"fitzpatrick": "-1"}, ""),
        ({"fitzpatrick": "4"}, "Fitzpatrick IV"),
        ({"fitzpatrick": "vi"}, "Fitzpatrick VI"),
        ({"fitzpatrick": "FST_2"}, "Fitzpatrick II"),
        ({"fitzpatrick": "5-6"}, "Fitzpatrick V-VI"),
        ({"fitzpatrick": "I-II"}, "Fitzpatrick I-II"),
        ({"monk": "10"}, "Monk 10"),
        ({"fitzpatrick": "unknown", "monk": "3"}, "Monk 3"),
        ({"fitzpatrick": "1", "monk": "3"}, "Fitzpatrick I"),
    ],
)
def test_a_label_is_read_from_its_column(columns, label):
    assert label_of(replace(ROW, extra=columns)) == label


@pytest.mark.parametrize(
    "columns",
    [
        *({"fitzpatrick": given} for given in ("7", "2-4", "6-5", "5-")),
        *({"monk": given} for given in ("11", "dark", "1-2", "3\N{SUPERSCRIPT TWO}")),
    ],
)
def test_a_label_that_is_none_is_never_passed_over(columns):
    with pytest.raises(ManifestError, match=r"1\.png: .* no type of that scale"):
        label_of(replace(ROW, extra=columns))


def rows_of(tone, ita, brown, n=40):
    """Rows of both colours; every red scores 0.3, browns as given."""
    reds = [judged(RED, Verdict.ERYTHEMATOUS, 0.7, 0.3, tone=tone, ita=ita) for _ in range(n // 2)]
    return reds + [
        judged(BROWN, Verdict.HYPERPIGMENTED, 1 - p, p, tone=tone, ita=ita)
        for p in np.resize(brown, n // 2)
    ]


def test_the_gap_is_between_the_best_tone_and_the_worst():
    tones = {"a": rows_of("", 60, [0.8]), "b": rows_of("", 0, [0.8, 0.1])}
    gap = auroc_gap(tones)
    assert gap.value == pytest.approx(1.0 - 0.5)
    assert gap.n == 80
    assert gap.low < 0.5 < gap.high


def test_tones_with_few_rows_or_one_colour_do_not_make_a_gap():
    whole = rows_of("", 60, [0.8])
    for other in (rows_of("", 0, [0.1], n=28), [row for row in whole if row.mark_type is RED] * 2):
        gap = auroc_gap({"a": whole, "b": other})
        assert gap.value is None
        assert "fewer than two tones" in gap.note


def test_labelled_rows_go_by_label_and_the_others_by_estimate():
    rows = rows_of("Fitzpatrick II", 10, [0.8]) + rows_of("Fitzpatrick V", 60, [0.8])
    rows += rows_of("", -40, [0.8]) + rows_of("", 35, [0.8])
    labelled, estimated = tone_scales(rows)
    assert (labelled.scale, labelled.estimated) == ("fitzpatrick", False)
    assert [each.name for each in labelled.groups] == ["Fitzpatrick II", "Fitzpatrick V"]
    assert (estimated.scale, estimated.estimated) == ("ita", True)
    assert [each.name[:4] for each in estimated.groups] == ["inte", "dark"]
    assert sum(each.n for scale in (labelled, estimated) for each in scale.groups) == len(rows)
    assert labelled.groups[0].measures[MeasureName.AUROC].n == 40


def test_a_tone_with_few_rows_says_so():
    (scale,) = tone_scales(rows_of("", 60, [0.8], n=10))
    assert scale.groups[0].measures[MeasureName.AUROC].note.startswith("insufficient data")


def test_a_pair_of_types_is_a_group_of_its_own():
    rows = rows_of("Fitzpatrick V-VI", 10, [0.8]) + rows_of("Fitzpatrick II", 60, [0.8])
    (scale,) = tone_scales(rows)
    assert [(each.name, each.n) for each in scale.groups] == [
        ("Fitzpatrick II", 40),
        ("Fitzpatrick V-VI", 40),
    ]
