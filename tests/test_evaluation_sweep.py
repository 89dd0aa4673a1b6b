from itertools import pairwise

import numpy as np
import pytest

from diascope.config import load_sweep
from diascope.evaluation.sweep import (
    SweepRow,
    gap_by_chance,
    measure_sweep,
    plan,
    size_name,
    sweep_tones,
    tone_name,
)
from diascope.inference import Predictor
from diascope.labels import ManifestLabel, Verdict
from diascope.renderer import render

RED, BROWN = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED
NEITHER = ManifestLabel.NEITHER
TONES = ["ITA 10 to 60", "ITA -50 to 10"]
CONTRASTS = ["Delta E 3 to 6", "Delta E 12 to 18"]


@pytest.fixture(scope="module")
def shipped(repo_root):
    return load_sweep(repo_root / "configs" / "sweep.toml")


@pytest.fixture(scope="module")
def config(shipped):
    small = {"marks": 4, "size": 64, "ita_edges": [60.0, 10.0, -50.0]}
    return shipped.model_copy(update={**small, "contrasts": [[3.0, 6.0], [12.0, 18.0]]})


def test_every_mark_is_on_every_tone_at_every_contrast_in_both_colours(shipped):
    drawings = list(plan(shipped))
    tones, contrasts = len(shipped.ita_edges) - 1, len(shipped.contrasts)
    assert len(drawings) == tones * shipped.marks * (2 * contrasts + 1)
    names = [tone_name(high, low) for high, low in pairwise(shipped.ita_edges)]
    for name, (high, low) in zip(names, pairwise(shipped.ita_edges), strict=True):
        inside = [each for each in drawings if each.tone == name]
        assert all(low < each.ita < high for each in inside)
        # The same place within its group, whatever the group: no tone gets the easier end.
        places = {each.index: (each.ita - low) / (high - low) for each in inside}
        assert np.mean(list(places.values())) == pytest.approx(0.5, abs=0.01)
        cells = {(each.index, each.contrast, each.mark_type) for each in inside}
        assert len(cells) == len(inside)
    first = {(each.index, round((each.ita - 55) / 10, 9)) for each in drawings if each.ita > 55}
    last = {(each.index, round((each.ita + 50) / 20, 9)) for each in drawings if each.ita < -30}
    assert first == last


def row(index, tone, contrast, label, brown, verdict=None, layout="patch", share=0.05, shown=4.0):
    called = Verdict.HYPERPIGMENTED if brown >= 0.5 else Verdict.ERYTHEMATOUS
    return SweepRow(
        group_id=str(index),
        tone=tone,
        contrast=contrast,
        shown=shown,
        layout=layout,
        mark_share=share,
        mark_type=label,
        verdict=verdict or called,
        separation=brown,
    )


def answers(light, dark, marks=4):
    """Rows of two tones; ``light`` and ``dark`` give P(brown) of a red mark by its number."""
    rows = []
    for tone, red in zip(TONES, (light, dark), strict=True):
        for index in range(marks):
            rows.append(row(index, tone, "", NEITHER, 0.2, Verdict.NEITHER, layout="none"))
            for contrast in CONTRASTS:
                rows.append(row(index, tone, contrast, RED, red(index)))
                rows.append(row(index, tone, contrast, BROWN, 0.8))
    return rows


def test_gaps_by_hand(config):
    # Light: all reds below brown. Dark: every second red above.
    rows = answers(lambda n: 0.1, lambda n: (0.1, 0.9)[n % 2])
    rows[1] = rows[1].model_copy(update={"verdict": Verdict.UNCLEAR})
    found = measure_sweep(config, rows)
    assert found.n == len(rows)
    assert [part.name for part in found.tones] == TONES
    assert [part.auroc.value for part in found.tones] == [1.0, 0.5]
    assert found.auroc_gap.value == 0.5
    assert (found.lowest.name, found.lowest.measure.value) == (TONES[1], 0.5)
    # One of eight light marks at the first contrast was declined, none elsewhere.
    assert [each.measure.value for each in found.declined_gaps] == [1 / 8, 0.0]
    assert [part.right.value for part in found.tones] == [1.0, 12 / 16]
    assert [each.measure.value for each in found.bare_called] == [0.0, 0.0]
    assert [[part.auroc.value for part in tone] for tone in found.cells] == [[1, 1], [0.5, 0.5]]
    assert found.cells[0][1].n == 8


def test_contrasts_shown_by_hand(config):
    """By what is drawn, not by what was asked for."""
    rows = answers(lambda n: 0.1, lambda n: 0.1)
    marked = [n for n, each in enumerate(rows) if each.mark_type is not NEITHER]
    for place, distance in zip(marked, (2.9, 3.0, 5.0, 12.5), strict=False):
        rows[place] = rows[place].model_copy(update={"shown": distance})
    found = measure_sweep(config, rows)
    assert [(part.name, part.n, part.shown) for part in found.shown] == [
        ("Delta E shown 0 to 3", 1, 2.9),
        ("Delta E shown 3 to 6", 30, 4.0),
        ("Delta E shown 12 and over", 1, 12.5),
    ]
    assert found.contrasts[0].shown == 4.0
    assert found.shown[0].auroc.value is None  # of one colour


def test_marks_are_drawn_in_pairs(config):
    """A tone that is worse by the same marks has a gap without spread; by other marks it has."""
    same = answers(lambda n: (0.1, 0.7)[n % 2], lambda n: (0.1, 0.7)[n % 2], marks=40)
    gap = measure_sweep(config, same).auroc_gap
    assert (gap.value, gap.low, gap.high, gap.groups) == (0.0, 0.0, 0.0, 40)


def test_chance_alone_shows_a_gap():
    """Answers that only the draw parts: the gap seen lies within what chance would show."""
    rng = np.random.default_rng(1)
    rows = [
        row(index, tone, CONTRASTS[0], label, float(rng.normal(label is BROWN, 1)))
        for index in range(200)
        for tone in TONES
        for label in (RED, BROWN)
    ]
    chance = gap_by_chance(rows, TONES)
    # |difference of two AUROCs of 0.76|, each with a standard error of about 0.024.
    assert chance.value == pytest.approx(0.024 * np.sqrt(2) * np.sqrt(2 / np.pi), rel=0.25)
    assert chance.low < chance.value < chance.high
    assert gap_by_chance(rows, TONES) == chance


@pytest.mark.parametrize(
    ("share", "name"),
    [(0.0, "0 to 0.5 %"), (0.005, "0.5 to 2 %"), (0.3, "10 to 40 %"), (1.0, "40 to 100 %")],
)
def test_sizes_of_marks(share, name):
    assert size_name(share) == f"{name} of the picture"


def test_a_sweep_judges_what_the_renderer_draws(config, untrained_bundle):
    predictor = Predictor.load(untrained_bundle, threads=1)
    found = sweep_tones(predictor, config)
    assert found.n == 2 * 4 * 5
    ita = [each.ita for each in plan(config) if each.tone == TONES[0] and each.mark_type is RED]
    drawn = [
        render(n // 2, config.seed, 64, mark_type=RED, ita=ita[n], contrast=contrast)
        for n, contrast in enumerate([(3.0, 6.0), (12.0, 18.0)] * 4)
    ]
    verdicts = [predictor.predict(each.pixels).image_verdict for each in drawn]
    counted = found.tones[0].verdicts[RED]
    assert counted == {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))}
    assert found.config["seed"] == config.seed
    assert sweep_tones(predictor, config) == found
