"""The shipped pack and its lookup: the rules that hold for every verdict, context and answer."""

import itertools
import pickle
import re

import pytest

from diascope.errors import GuidanceError
from diascope.guidance import (
    Context,
    GlassNote,
    GuidancePack,
    Stance,
    Topic,
    combine,
    load_pack,
    read_contexts,
)
from diascope.labels import Verdict

RED, BROWN, UNCLEAR = Verdict.ERYTHEMATOUS, Verdict.HYPERPIGMENTED, Verdict.UNCLEAR
ALL_CONTEXTS = [
    chosen for count in range(len(Context) + 1) for chosen in itertools.combinations(Context, count)
]
CASES = list(itertools.product(Verdict, (None, True, False)))


@pytest.fixture(scope="module")
def pack() -> GuidancePack:
    return load_pack()


def shown(pack, image_verdict, blanches=None, contexts=()):
    test = combine(image_verdict, blanches)
    return test.verdict, pack.claims_for(test.verdict, contexts, glass=test.note)


def ids(claims):
    return [claim.id for claim in claims]


def flags(claims):
    """The block of red flags that a list opens with."""
    return ids(itertools.takewhile(lambda claim: claim.topic is Topic.RED_FLAG, claims))


def test_the_pack_is_large_enough_and_cites_every_document(pack):
    assert len(pack.claims) >= 40
    cited = {document for claim in pack.claims for document in claim.document_ids}
    assert cited == set(pack.documents)


@pytest.mark.parametrize("verdict", [RED, BROWN])
def test_each_mark_type_has_eight_claims_from_the_three_documents(pack, verdict):
    three = {"rodam-clinic", "medical-spa", "reader-question"}
    claims = [claim for claim in pack.claims_for(verdict) if three & set(claim.document_ids)]
    assert len(claims) >= 8


@pytest.mark.parametrize(("image_verdict", "blanches"), CASES)
def test_rules_that_hold_in_every_context(pack, image_verdict, blanches):
    for contexts in ALL_CONTEXTS:
        verdict, claims = shown(pack, image_verdict, blanches, contexts)
        topics = [claim.topic for claim in claims]
        assert Topic.RED_FLAG in topics
        assert Topic.WHEN_TO_ASK in topics
        assert len(set(ids(claims))) == len(claims)
        assert topics[: topics.count(Topic.RED_FLAG)] == [Topic.RED_FLAG] * topics.count(
            Topic.RED_FLAG
        )
        if verdict.declines:
            assert not {Topic.SELF_CARE, Topic.PROFESSIONAL_CARE, Topic.AFTERCARE} & set(topics)
        opening = flags(claims)
        if verdict in (BROWN, UNCLEAR):
            assert next(flag for flag in opening if flag != "halt-sore-skin") == "changing-spot"
        if verdict in (RED, UNCLEAR):
            assert {"hot-painful-skin", "fast-spreading-skin", "red-that-does-not-blanch"} <= set(
                opening
            )


@pytest.mark.parametrize(("image_verdict", "blanches"), CASES)
def test_pregnancy_never_shows_retinoids_without_the_caution(pack, image_verdict, blanches):
    for contexts in ALL_CONTEXTS:
        if Context.PREGNANCY not in contexts:
            continue
        _, claims = shown(pack, image_verdict, blanches, contexts)
        naming = [claim for claim in claims if re.search(r"retino|adapalene", claim.text, re.I)]
        if naming:
            assert "pregnancy-and-retinoids" in ids(naming)
        # What is left names retinoids only to warn, or to show that sources differ.
        assert {claim.topic for claim in naming} <= {Topic.AVOID}


@pytest.mark.parametrize(("image_verdict", "blanches"), CASES)
def test_sore_or_broken_skin_puts_the_halt_first_and_gets_no_treatment(
    pack, image_verdict, blanches
):
    for contexts in ALL_CONTEXTS:
        if Context.BROKEN_OR_SORE_SKIN not in contexts:
            continue
        _, claims = shown(pack, image_verdict, blanches, contexts)
        assert claims[0].id == "halt-sore-skin"
        assert not {Topic.SELF_CARE, Topic.PROFESSIONAL_CARE, Topic.AFTERCARE} & {
            claim.topic for claim in claims
        }
        assert not any("press something" in claim.text for claim in claims)


def test_dark_skin_shows_laser_as_second_line_before_any_laser(pack):
    for contexts in ALL_CONTEXTS:
        if Context.DARK_SKIN not in contexts or Context.BROKEN_OR_SORE_SKIN in contexts:
            continue
        for image_verdict, blanches in [(BROWN, None), (BROWN, False), (UNCLEAR, False)]:
            _, claims = shown(pack, image_verdict, blanches, contexts)
            lasers = [claim.id for claim in claims if "laser" in claim.text.lower()]
            assert lasers[0] == "laser-second-line"


def test_red_that_does_not_blanch_gets_no_redness_care_and_a_professional_at_once(pack):
    verdict, claims = shown(pack, RED, blanches=False)
    assert verdict is UNCLEAR
    after_flags = claims[len(flags(claims))]
    assert after_flags.id == "red-that-stays-under-glass"
    assert after_flags.topic is Topic.WHEN_TO_ASK


def test_brown_that_blanches_gets_no_pigment_care_and_a_professional_at_once(pack):
    verdict, claims = shown(pack, BROWN, blanches=True)
    assert verdict is UNCLEAR
    assert claims[len(flags(claims))].id == "brown-that-fades-under-glass"


def test_unclear_is_told_how_to_do_the_glass_test_once_it_is_not_done(pack):
    _, claims = shown(pack, UNCLEAR)
    texts = ids(claims)
    assert texts.index("glass-care-first") < texts.index("glass-test-how")
    assert texts.index("glass-test-how") < texts.index("glass-test-reading")
    _, contradicted = shown(pack, RED, blanches=False)
    assert "glass-test-how" not in ids(contradicted)


def test_pigment_decided_by_glass_alone_warns_of_purpura(pack):
    _, claims = shown(pack, UNCLEAR, blanches=False)
    assert "dark-mark-that-does-not-blanch" in flags(claims)


@pytest.mark.parametrize("verdict", [Verdict.NEITHER, Verdict.NOT_ASSESSABLE])
def test_declining_says_how_to_take_a_better_photograph(pack, verdict):
    assert {
        "photo-light",
        "photo-no-filter",
        "photo-sharp",
        "photo-middle-and-skin-around",
    } <= set(ids(pack.claims_for(verdict)))


def test_every_disagreement_of_the_literature_surfaces_where_it_matters(pack):
    where = {
        "how-long-redness-lasts": [RED],
        "whether-pigment-goes": [BROWN],
        "laser-for-pigment": [BROWN],
        "active-ingredients": [RED, BROWN],
        "glass-test": [RED, BROWN, UNCLEAR],
        "retinol-and-pregnancy": [BROWN],
        "how-strong-the-pages-are": [RED, BROWN],
    }
    assert set(where) <= set(pack.disagreements)
    for identity, verdicts in where.items():
        for verdict in verdicts:
            showing = [c for c in pack.claims_for(verdict) if c.disagreement == identity]
            assert len(showing) == 1
            assert {source.stance for source in showing[0].sources} == set(Stance)
            assert all(
                f"grade {source.grade}" in showing[0].text or f"({source.grade})" in showing[0].text
                for source in showing[0].sources
            )


def test_contexts_add_what_they_are_for(pack):
    def added(verdict, context):
        return set(ids(pack.claims_for(verdict, [context]))) - set(ids(pack.claims_for(verdict)))

    assert added(RED, Context.AFTER_PROCEDURE) == {
        "coratherapy-marks-are-redness",
        "coratherapy-why-red",
        "coratherapy-cream",
    }
    assert added(RED, Context.DARK_SKIN) == {"redness-on-dark-skin"}
    assert added(BROWN, Context.ACTIVE_ACNE) == {"early-care-for-acne-marks"}
    assert added(BROWN, Context.USING_ACTIVES) == {"products-in-use-redden"}
    assert added(RED, Context.PREGNANCY) == {"pregnancy-and-retinoids"}


def test_an_unknown_context_is_refused_not_ignored(pack):
    with pytest.raises(GuidanceError, match="'pregnant' is no context; known are pregnancy"):
        pack.claims_for(RED, ["pregnant"])


def test_contexts_are_read_from_a_column_and_from_a_sequence():
    both = (Context.PREGNANCY, Context.DARK_SKIN)
    assert read_contexts("pregnancy; dark_skin") == both
    assert read_contexts("pregnancy,dark_skin,pregnancy") == both
    assert read_contexts([Context.PREGNANCY, "dark_skin"]) == both
    assert read_contexts("") == ()


def test_order_follows_the_topics(pack):
    topics = [list(Topic).index(claim.topic) for claim in pack.claims_for(BROWN)]
    assert topics == sorted(topics)


def test_a_pack_and_its_claims_survive_pickling(pack):
    copy = pickle.loads(pickle.dumps(pack))
    assert copy == pack
    assert copy.claims_for(RED, glass=GlassNote.AGREES) == pack.claims_for(
        RED, glass=GlassNote.AGREES
    )
