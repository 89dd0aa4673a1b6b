"""Every condition is decided, by words of closed lists, and several labels come to one answer."""

import ast
import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diascope.errors import SourceError
from diascope.labels import ManifestLabel
from diascope.sources import SOURCES, Drop, SourceRow
from diascope.sources.label_maps import (
    EXCLUDED,
    REASONS,
    Decision,
    LabelMap,
    check_all_decided,
    decide,
    read_map,
    shipped_map,
)
from diascope.sources.scin import NO_PATHOLOGY

NAMES = [source.name for source in SOURCES if source.name != "folders"] + ["skincon"]
RED, BROWN, OTHER = ManifestLabel.ERYTHEMATOUS, ManifestLabel.HYPERPIGMENTED, ManifestLabel.OTHER


def labels_of(repo_root, name):
    with (repo_root / "data" / "label_maps" / f"{name}.csv").open(encoding="utf-8") as file:
        return [row["label"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_maps_are_whole_and_sorted(repo_root, name):
    labels = labels_of(repo_root, name)
    assert labels == sorted(labels)
    assert len(labels) == len(set(labels))
    assert all(shipped_map(name).get(label) is not None for label in labels)


@pytest.mark.parametrize(
    ("name", "published"),
    [("ddi", 78), ("ham10000", 7), ("sd198", 198), ("skincon", 49), ("pad_ufes_20", 7)],
)
def test_as_many_labels_as_the_set_is_published_with(repo_root, name, published):
    """PAD-UFES-20 has six, and Bowen's disease beside; SkinCon 48 and a column of its own."""
    assert len(labels_of(repo_root, name)) == published


@pytest.mark.shared
def test_every_condition_of_the_real_tables_is_decided(repo_root, shared_dir):
    with (shared_dir / "tables" / "scin" / "scin_labels.csv").open(encoding="utf-8") as file:
        texts = [row["weighted_skin_condition_label"] for row in csv.DictReader(file)]
    names = {name for text in texts for name in ast.literal_eval(text)}
    assert len(names) == 370
    assert set(labels_of(repo_root, "scin")) == names | {NO_PATHOLOGY}
    table = shared_dir / "tables" / "fitzpatrick17k" / "fitzpatrick17k.csv"
    with table.open(encoding="utf-8") as file:
        names = {row["label"] for row in csv.DictReader(file)}
    assert len(names) == 114
    assert set(labels_of(repo_root, "fitzpatrick17k")) == names


DECLINED = (
    *("melanoma", "carcinoma", "nevus", "naevus", "keratosis", "tinea", "herpes", "scabies"),
    *("psoriasis", "eczema", "wart", "lentigo", "cellulitis", "impetigo", "lymphoma", "sarcoma"),
    *("acne", "vitiligo", "purpura", "mycosis"),
)


@pytest.mark.parametrize("name", NAMES)
def test_what_must_be_declined_is_never_red_or_brown(repo_root, name):
    """Infections, tumours, moles and scale, however red or brown."""
    for label in labels_of(repo_root, name):
        words = label.lower().replace("_", " ").replace("-", " ")
        if any(word in words for word in DECLINED):
            kind = shipped_map(name).get(label).mark_type
            vascular = label in ("Vascular nevus of skin", "Nevus anemicus")
            assert kind in (OTHER, EXCLUDED) or vascular, label


def test_maps_agree_on_a_condition_of_several_sets(repo_root):
    """Names that differ in case, dashes or a plural are one condition."""
    said = {}
    for name in NAMES:
        for label in labels_of(repo_root, name) if name != "skincon" else ():
            decision = shipped_map(name).get(label)
            words = label.lower().replace("'", "").replace("_", " ").replace("-", " ").rstrip("s")
            reasons = said.setdefault(words, {})
            reasons[name] = (decision.mark_type, decision.reason, decision.certain)
    assert sum(len(each) > 1 for each in said.values()) > 100
    assert {words: each for words, each in said.items() if len(set(each.values())) > 1} == {}


def test_causes_are_no_labels(repo_root):
    """A mark type is an appearance: no map names PIE, and no reason names a cause."""
    for name in NAMES:
        assert not {"pie", "postinflammatory erythema"} & {
            label.lower().replace("-", "") for label in labels_of(repo_root, name)
        }
    assert REASONS[RED] == {"vessels"}
    assert REASONS[BROWN] == {"melanin"}


def test_the_readme_explains_every_word(repo_root):
    text = (repo_root / "data" / "label_maps" / "README.md").read_text(encoding="utf-8")
    words = {*REASONS, *(reason for reasons in REASONS.values() for reason in reasons)}
    assert {word for word in words if f"`{word}`" not in text} == set()


HEAD = "label,mark_type,reason,certainty\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("label,mark_type\na,other\n", "first line of a label map is"),
        (HEAD + "a,other,scale\n", "line 2: .*on every line"),
        (HEAD + ",other,scale,sure\n", "line 2: .*on every line"),
        (HEAD + "a,red,vessels,sure\n", "line 2: unknown mark_type 'red'"),
        (HEAD + "a,other,vessels,sure\n", "line 2: unknown reason 'vessels' for other"),
        (HEAD + "a,other,scale,maybe\n", "line 2: unknown certainty 'maybe'"),
        (HEAD + "a,other,scale,sure\na,other,scale,sure\n", "line 3: 'a' stands twice"),
        (HEAD + "a,other,scale,sure\nA,other,bump,sure\n", "line 3: 'A' stands twice"),
        ('"', "not readable"),
    ],
)
def test_a_map_that_is_none(tmp_path, text, told):
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(SourceError, match=told) as raised:
        read_map(tmp_path / "map.csv")
    assert str(tmp_path / "map.csv") in str(raised.value)


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match="not readable as a label map"):
        read_map(tmp_path / "map.csv")


MAP = LabelMap(
    "map",
    "",
    {
        "red": Decision(RED, "red", "vessels"),
        "pink": Decision(RED, "pink", "vessels", certain=False),
        "brown": Decision(BROWN, "brown", "melanin"),
        "scaly": Decision(OTHER, "scaly", "scale"),
        "vague": Decision(EXCLUDED, "vague", "ambiguous"),
        "nail": Decision(EXCLUDED, "nail", "not_skin"),
        "clear": Decision(ManifestLabel.NEITHER, "clear", "unmarked"),
    },
)


def weighed(*labels, min_weight=0.5, **options):
    row = SourceRow("t line 1", "1", labels=labels)
    return decide(row, MAP, min_weight=min_weight, **options)


@pytest.mark.parametrize(
    ("labels", "kind", "condition", "reason"),
    [
        ([("red", 1.0)], RED, "red", "vessels"),
        ([(" Red ", 1.0)], RED, " Red ", "vessels"),
        ([("red", 0.4), ("pink", 0.3), ("scaly", 0.3)], RED, "red", "vessels"),
        ([("pink", 0.2), ("red", 0.3), ("scaly", 0.5)], EXCLUDED, "scaly", Drop.BELOW_WEIGHT),
        ([("pink", 0.3), ("red", 0.3), ("scaly", 0.4)], RED, "pink", "vessels"),
        ([("red", 0.5), ("brown", 0.5)], EXCLUDED, "red", Drop.BELOW_WEIGHT),
        ([("red", 0.4), ("brown", 0.3), ("scaly", 0.3)], EXCLUDED, "red", Drop.BELOW_WEIGHT),
        ([("red", 41), ("pink", 18), ("brown", 41)], RED, "red", "vessels"),
        ([("vague", 0.7), ("red", 0.3)], EXCLUDED, "vague", "ambiguous"),
        ([("unheard", 1.0)], EXCLUDED, "unheard", Drop.NOT_IN_MAP),
    ],
)
def test_several_labels_come_to_one(labels, kind, condition, reason):
    decision = weighed(*labels)
    assert (decision.mark_type, decision.condition, decision.reason) == (kind, condition, reason)


@given(
    st.lists(
        st.tuples(st.sampled_from(["red", "pink", "brown", "scaly"]), st.floats(0.01, 1.0)),
        min_size=1,
        max_size=5,
        unique_by=lambda pair: pair[0],
    ),
    st.floats(0.01, 1.0),
    st.floats(0.01, 100.0),
)
def test_only_the_share_of_the_weight_counts(labels, min_weight, scale):
    """Scaling changes nothing; a named mark type has its share, and more than any other."""
    decision = weighed(*labels, min_weight=min_weight)
    scaled = weighed(*[(name, w * scale) for name, w in labels], min_weight=min_weight)
    total = sum(weight for _, weight in labels)
    shares = {RED: 0.0, BROWN: 0.0, OTHER: 0.0}
    for name, weight in labels:
        shares[MAP.get(name).mark_type] += weight / total
    first, second = sorted(shares.values(), reverse=True)[:2]
    if abs(first - min_weight) > 1e-6 and abs(first - second) > 1e-6:
        assert scaled == decision
        named = first > min_weight
        assert (decision.mark_type != EXCLUDED) == named
        assert not named or shares[decision.mark_type] == first


def test_only_sure_leaves_the_likely_out():
    assert weighed(("pink", 1.0)).mark_type == RED
    assert weighed(("pink", 1.0), only_sure=True).reason == Drop.UNCERTAIN
    assert weighed(("red", 1.0), only_sure=True).mark_type == RED


def test_what_the_table_states_is_not_asked_of_the_map():
    row = SourceRow("t", "1", labels=(("anything", 1.0),), mark_type=BROWN)
    check_all_decided([row], MAP, "mend")
    assert decide(row, MAP, min_weight=0.5).mark_type == BROWN


def test_undecided_labels_are_named_with_their_rows():
    rows = [SourceRow(f"t.csv line {n}", str(n), labels=((f"new {n}", 1.0),)) for n in range(2, 9)]
    rows.append(SourceRow("t.csv line 9", "9", labels=(("new 9", 1.0),), drop=Drop.DUPLICATE_ID))
    with pytest.raises(SourceError) as raised:
        check_all_decided(rows, MAP, "add a line")
    told = str(raised.value)
    assert told.startswith("map does not decide 7 labels: add a line\nt.csv line 2: 'new 2'; ")
    assert told.endswith("and 2 more")
    assert len(told.splitlines()) <= 3


@pytest.mark.parametrize(
    ("label", "concepts", "kind"),
    [
        # A red condition is red where erythema was seen, both where brown was seen too.
        ("red", ["Erythema"], RED),
        ("red", ["Telangiectasia", "Papule"], RED),
        ("red", ["Erythema", "Brown(Hyperpigmentation)"], ManifestLabel.MIXED),
        ("red", ["Brown(Hyperpigmentation)"], EXCLUDED),
        ("red", ["Papule"], EXCLUDED),
        ("brown", ["Brown(Hyperpigmentation)"], BROWN),
        ("brown", ["Erythema"], EXCLUDED),
        # An open one is decided by the picture, if nothing in it is to be declined.
        ("vague", ["Erythema", "Patch"], RED),
        ("vague", ["Brown(Hyperpigmentation)"], BROWN),
        ("vague", ["Erythema", "Scale"], EXCLUDED),
        ("vague", [], EXCLUDED),
        ("nail", ["Erythema"], EXCLUDED),
        # What must be declined stays so.
        ("scaly", ["Erythema"], OTHER),
        ("scaly", ["Brown(Hyperpigmentation)"], OTHER),
        ("scaly", ["Do not consider this image"], EXCLUDED),
        ("red", ["Erythema", "Do not consider this image"], EXCLUDED),
    ],
)
def test_a_condition_is_held_against_what_was_seen(label, concepts, kind):
    row = SourceRow("t", "1", labels=((label, 1.0),), concepts=tuple(concepts))
    decision = decide(row, MAP, min_weight=0.5, concepts=shipped_map("skincon"))
    assert decision.mark_type == kind
    assert decision.condition == label


@pytest.mark.parametrize(("seen", "kind"), [("Patch", RED), ("Pustule", EXCLUDED)])
def test_a_colour_beside_what_must_be_declined_is_not_sure(seen, kind):
    """Rosacea with pustules is red, but no picture of redness alone."""
    row = SourceRow("t", "1", labels=(("red", 1.0),), concepts=("Erythema", seen))
    concepts = shipped_map("skincon")
    assert decide(row, MAP, min_weight=0.5, concepts=concepts).mark_type == RED
    assert decide(row, MAP, min_weight=0.5, concepts=concepts, only_sure=True).mark_type == kind


def test_nobody_looked_is_not_nothing_seen():
    row = SourceRow("t", "1", labels=(("red", 1.0),), concepts=None)
    assert decide(row, MAP, min_weight=0.5, concepts=shipped_map("skincon")).mark_type == RED


def test_a_concept_nobody_decided_is_an_error():
    row = SourceRow("s.csv line 4", "1", labels=(("red", 1.0),), concepts=("Glow",))
    with pytest.raises(SourceError, match=r"s.csv line 4: skincon.csv does not decide 'Glow'"):
        decide(row, MAP, min_weight=0.5, concepts=shipped_map("skincon"))
