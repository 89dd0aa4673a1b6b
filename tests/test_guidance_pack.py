"""A pack of one's own: what breaks its rules is refused whole, with file, claim and mend."""

import shutil

import pytest

from diascope.errors import GuidanceError, OutputError
from diascope.guidance import coverage, load_pack, new_pack, verify
from diascope.labels import Verdict


@pytest.fixture
def folder(tmp_path):
    return new_pack(tmp_path / "pack")


def edit(file, old, new, count=1):
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, count), encoding="utf-8")


SPAN_3_4 = 'locator = "3-4", stance = "supports", sha256 ='
DIFFERENCE = '[[disagreements]]\nid = "d"\nquestion = "q?"\nposition = "p"\n\n[[claims]]'
BAD_CLAIMS = {
    "unknown document": (
        'document = "nhs-cellulitis"',
        'document = "nhs-celulitis"',
        r"claim 'hot-painful-skin': unknown document 'nhs-celulitis'; add it to documents.toml",
    ),
    "locator past the end": (
        SPAN_3_4,
        'locator = "7-8", stance = "supports", sha256 =',
        r"claim 'marks-may-stay': example-leaflet 7-8: past the end; .* 7 sentences",
    ),
    "locator backwards": (
        SPAN_3_4,
        'locator = "4-3", stance = "supports", sha256 =',
        r"claim 'marks-may-stay': .*'4-3' is no span of sentences; write it as 7 or 7-9",
    ),
    "no digest": (
        'locator = "5", stance = "supports", sha256 = ',
        'locator = "5", stance = "supports" }, #',
        r"claim 'no-picking': example-leaflet 5: sha256 .* missing",
    ),
    "digest without sentences": (
        'locator = "symptoms", stance = "supports"',
        f'locator = "symptoms", stance = "supports", sha256 = "{"0" * 64}"',
        r"claim 'hot-painful-skin': .*no numbered sentences; remove sha256",
    ),
    "no source": (
        'sources = [\n  { document = "nhs-cellulitis", locator = "symptoms", '
        'stance = "supports" },\n]',
        "sources = []",
        r"claim 'hot-painful-skin': sources is empty; a source is needed",
    ),
    "sources missing": (
        'sources = [\n  { document = "nhs-cellulitis", locator = "symptoms", '
        'stance = "supports" },\n]',
        "",
        r"claim 'hot-painful-skin': sources is missing; add it",
    ),
    "duplicate id": (
        'id = "hot-painful-skin"',
        'id = "changing-spot"',
        r"claim 'changing-spot' stands there 2 times; give each its own id",
    ),
    "verdict without a red flag": (
        'verdicts = ["erythematous", "hyperpigmented", "unclear", "neither", "not_assessable"]\n'
        'text = "Hot',
        'verdicts = ["hyperpigmented"]\ntext = "Hot',
        r"verdict erythematous has no claim of topic red_flag that is always shown; add one",
    ),
    "when to ask only in one context": (
        'topic = "when_to_ask"\n',
        'topic = "when_to_ask"\nonly_with = ["pregnancy"]\n',
        r"verdict erythematous has no claim of topic when_to_ask that is always shown",
    ),
    "treatment for a verdict that declines": (
        'topic = "when_to_ask"',
        'topic = "self_care"',
        r"claim 'ask-when-worried': topic self_care goes with erythematous and hyperpigmented",
    ),
    "too long": (
        "The example leaflet asks for no",
        "x" * 221,
        r"claim 'no-picking': text = .*at most 220 characters",
    ),
    "terminal escape in a text": (
        "The example leaflet asks for no",
        "\\u001b[31mThe",
        r"claim 'no-picking': text: must be one line of printable text",
    ),
    "misspelt key": (
        'topic = "avoid"',
        'topic = "avoid"\nonly_wiht = ["pregnancy"]',
        r"claim 'no-picking': unknown key only_wiht; remove it or correct its spelling",
    ),
    "unknown context": (
        'topic = "avoid"',
        'topic = "avoid"\nonly_with = ["pregnant"]',
        r"claim 'no-picking': only_with.0 = 'pregnant': .*'pregnancy'",
    ),
    "a context that adds and takes away": (
        'topic = "avoid"',
        'topic = "avoid"\nonly_with = ["pregnancy"]\nnot_with = ["pregnancy"]',
        r"claim 'no-picking': a context stands in both",
    ),
    "citation of one's own": (
        'locator = "symptoms",',
        'locator = "symptoms", citation = "me",',
        r"claim 'hot-painful-skin': unknown key citation; it belongs in documents.toml",
    ),
    "one place twice": (
        '{ document = "nhs-cellulitis", locator = "symptoms", stance = "supports" },',
        '{ document = "nhs-cellulitis", locator = "symptoms", stance = "supports" },' * 2,
        r"claim 'hot-painful-skin': names one place of one document twice",
    ),
    "unknown disagreement": (
        'topic = "avoid"',
        'topic = "avoid"\ndisagreement = "d"',
        r"claim 'no-picking': unknown disagreement 'd'; add it under \[\[disagreements\]\]",
    ),
    "disagreement with one side": (
        "[[claims]]",
        DIFFERENCE,
        r"disagreement 'd' is not shown; .* one that disputes it",
    ),
    "no version": ('version = "0.1.0"\n', "", r"version is missing; add it"),
    "not TOML": ("[[claims]]", "[[claims]", r"not readable as TOML: "),
    "nested beyond reason": (
        "[[claims]]",
        f"x = {'[' * 5000}\n[[claims]]",
        r"not readable as TOML",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD_CLAIMS.values(), ids=BAD_CLAIMS)
def test_claims_that_break_a_rule(folder, old, new, message):
    edit(folder / "claims.toml", old, new)
    with pytest.raises(GuidanceError, match=message) as caught:
        load_pack(folder)
    assert str(caught.value).startswith(f"{folder}/claims.toml: ")
    assert str(caught.value).count("\n") <= 2


BAD_DOCUMENTS = {
    "duplicate id": (
        'id = "nhs-lothian-moles"',
        'id = "nhs-cellulitis"',
        r"document 'nhs-cellulitis' stands there 2 times",
    ),
    "a path for a file name": (
        'file = "example-leaflet.txt"',
        'file = "../example-leaflet.txt"',
        r"document 'example-leaflet': file = '../example-leaflet.txt'",
    ),
    "digest alone": ("sentences = 7\n", "", r"sha256 and sentences come together"),
    "set aside past the end": (
        'sentences = "7", reason',
        'sentences = "8", reason',
        r"past the last",
    ),
    "unknown reason": ('reason = "greeting"', 'reason = "dull"', r"set_aside.1.reason = 'dull'"),
    "repeats nothing": ('reason = "greeting"', 'reason = "repeats"', r'"of" goes with'),
    "year in words": ('year = "undated"', 'year = "lately"', r"year: must be a year such as 2024"),
    "unknown grade": (
        'grade = "C"',
        'grade = "D"',
        r"grade = 'D': .*'A', 'B' or 'C'",
    ),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_documents_that_break_a_rule(folder, old, new, message):
    edit(folder / "documents.toml", old, new)
    with pytest.raises(GuidanceError, match=message) as caught:
        load_pack(folder)
    assert str(caught.value).startswith(f"{folder}/documents.toml: ")
    assert str(caught.value).count("\n") <= 2


@pytest.mark.parametrize("claims", ["1", "[1]", "[]", "{}", "[{sources = 1}]", "[{sources = [1]}]"])
def test_claims_of_another_shape(folder, claims):
    (folder / "claims.toml").write_text(
        f'version = "1.0.0"\ndate = 2026-01-01\nclaims = {claims}\n'
    )
    with pytest.raises(GuidanceError, match=r"claims.toml: claim"):
        load_pack(folder)


def test_a_folder_that_is_no_pack(tmp_path):
    with pytest.raises(GuidanceError, match=r"documents.toml: no such file; a pack is a folder"):
        load_pack(tmp_path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(GuidanceError, match=r"no such file; a pack is a folder"):
        load_pack(file)


def test_a_new_pack_loads_verifies_and_covers_its_leaflet(folder):
    pack = load_pack(folder)
    checked = verify(pack, folder / "documents")
    assert (checked.documents, checked.spans, checked.rows, checked.without_text) == (1, 3, 0, 2)
    assert coverage(pack, folder / "documents").complete
    assert all(pack.claims_for(verdict) for verdict in Verdict)


def test_a_new_pack_replaces_nothing(folder):
    edit(folder / "claims.toml", "0.1.0", "0.2.0")
    with pytest.raises(OutputError, match="exists already"):
        new_pack(folder)
    assert load_pack(folder).version == "0.2.0"


def test_a_new_pack_where_no_folder_is(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        new_pack(tmp_path / "missing" / "pack")
    assert not list(tmp_path.iterdir())


def changed(folder, old, new):
    edit(folder / "documents" / "example-leaflet.txt", old, new)
    with pytest.raises(GuidanceError) as caught:
        verify(load_pack(folder), folder / "documents")
    assert str(caught.value).count("\n") <= 2
    return str(caught.value)


def test_a_changed_word_names_document_sentences_and_claims(folder):
    message = changed(folder, "brown mark", "dark mark")
    assert "example-leaflet.txt: sentences 3-4 are not those" in message
    assert "'example-leaflet'" in message
    assert "Claims to read again: marks-may-stay." in message


def test_the_digest_a_message_tells_mends_it(folder):
    message = changed(folder, "brown mark", "dark mark")
    digest = message.rpartition("3-4: ")[2]
    claims = folder / "claims.toml"
    old = claims.read_text(encoding="utf-8").partition(SPAN_3_4)[2][2:66]
    edit(claims, old, digest)
    with pytest.raises(GuidanceError, match="in no sentence that a claim uses") as caught:
        verify(load_pack(folder), folder / "documents")
    documents = folder / "documents.toml"
    old = documents.read_text(encoding="utf-8").partition('sha256 = "')[2][:64]
    edit(documents, old, str(caught.value).partition('sha256 = "')[2][:64])
    assert verify(load_pack(folder), folder / "documents").spans == 3


def test_a_change_between_claims_is_seen_too(folder):
    assert "in no sentence that a claim uses" in changed(folder, "open all week", "open on Monday")


def test_a_sentence_put_in_front_moves_every_claim(folder):
    message = changed(folder, "Welcome", "Hello. Welcome")
    for claim in ("marks-may-stay", "no-picking", "ask-when-worried"):
        assert claim in message


def test_a_document_that_is_missing_or_no_text(folder):
    leaflet = folder / "documents" / "example-leaflet.txt"
    leaflet.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GuidanceError, match="is not UTF-8 text"):
        verify(load_pack(folder), folder / "documents")
    leaflet.unlink()
    with pytest.raises(GuidanceError, match="put the text of document 'example-leaflet' there"):
        verify(load_pack(folder), folder / "documents")


def test_coverage_names_what_is_left_over(folder):
    edit(folder / "documents.toml", '  { sentences = "7", reason = "advertisement" },\n', "")
    found = coverage(load_pack(folder), folder / "documents")
    assert not found.complete
    assert found.share == pytest.approx(6 / 7)
    assert [(left.document, left.number) for left in found.unaccounted] == [("example-leaflet", 7)]
    # Sentence 7 now counts as one about marks: 4 used of 5.
    assert found.used_share == pytest.approx(4 / 5)


def test_setting_too_much_aside_is_not_complete(folder):
    edit(
        folder / "documents.toml",
        'sentences = "7", reason = "advertisement"',
        'sentences = "7", reason = "repeats", of = 6',
    )
    edit(
        folder / "documents.toml",
        'sentences = "1", reason = "not_about_marks"',
        'sentences = "1", reason = "repeats", of = 3',
    )
    found = coverage(load_pack(folder), folder / "documents")
    assert found.share == 1.0
    assert found.used_share == pytest.approx(4 / 6)
    assert not found.complete


def test_a_sentence_cannot_be_used_and_set_aside(folder):
    edit(folder / "documents.toml", 'sentences = "7",', 'sentences = "6-7",')
    with pytest.raises(GuidanceError, match="6 is set aside, yet claim 'ask-when-worried'"):
        coverage(load_pack(folder), folder / "documents")


def test_a_sentence_cannot_repeat_one_that_nobody_uses(folder):
    edit(folder / "documents.toml", 'reason = "greeting"', 'reason = "repeats", of = 7')
    with pytest.raises(GuidanceError, match="sentence 2 repeats 7, which no claim uses"):
        coverage(load_pack(folder), folder / "documents")


@pytest.mark.shared
def test_the_shipped_pack_accounts_for_every_sentence(shared_dir):
    pack = load_pack()
    checked = verify(pack, shared_dir / "documents")
    assert (checked.documents, checked.without_text) == (3, 6)
    found = coverage(pack, shared_dir / "documents")
    assert found.share == 1.0
    assert found.used_share >= 0.7
    assert found.complete


@pytest.mark.shared
@pytest.mark.parametrize(
    ("file", "old", "new", "claims"),
    [
        ("rodam", "low-power", "high-power", {"soothing-devices", "moisturise-and-soothe"}),
        ("medical", "retinol", "retinal", {"spa-products", "retinol-and-pregnancy"}),
        ("reader", "neck", "arms", {"redness-anywhere"}),
    ],
)
def test_one_word_of_a_copied_document_names_its_claims(
    shared_dir, tmp_path, file, old, new, claims
):
    copy = tmp_path / "documents"
    shutil.copytree(shared_dir / "documents", copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    edit(next(copy.glob(f"{file}*.txt")), old, new)
    with pytest.raises(GuidanceError) as caught:
        verify(load_pack(), copy)
    assert all(claim in str(caught.value) for claim in claims)


@pytest.mark.shared
def test_a_row_that_is_gone_names_its_claim(shared_dir, tmp_path):
    copy = tmp_path / "documents"
    shutil.copytree(shared_dir / "documents", copy, copy_function=shutil.copyfile)
    copy.chmod(0o755)
    edit(copy / "literature.md", "| bumps-retinoids-2024 |", "| bumps |")
    with pytest.raises(GuidanceError, match="no row 'bumps-retinoids-2024', cited by claim '"):
        verify(load_pack(), copy)


@pytest.mark.shared
def test_the_spa_page_has_no_word_on_pregnancy(shared_dir):
    # What the claim retinol-and-pregnancy says of the whole page, which no locator can show.
    page = (shared_dir / "documents" / "medical-spa-pih.txt").read_text(encoding="utf-8")
    assert "pregnan" not in page.lower()
