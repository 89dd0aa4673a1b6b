import pytest
from pydantic import ValidationError

from diascope.evidence import Fact, Item, Status, guidelines

ROOT_PLACES = ("README", "docs/", "src/", "configs/", "data/", "constraints.txt")


def test_three_guidelines_with_their_items():
    named = {each.name: len(each.items) for each in guidelines()}
    assert list(named) == ["TRIPOD+AI", "CLAIM, 2024 update", "CLEAR Derm"]
    # TRIPOD+AI has 27 numbered items, in their order.
    numbers = [int(each.item.split()[0]) for each in guidelines()[0].items]
    assert numbers == list(range(1, 28))
    for guideline in guidelines():
        items = [each.item for each in guideline.items]
        assert len(set(items)) == len(items) > 15
        assert {each.status for each in guideline.items} == set(Status)


def test_every_place_that_names_a_file_names_one_that_exists(repo_root):
    places = [each.place for guideline in guidelines() for each in guideline.items]
    words = [word.strip(";:,") for place in places for word in place.split()]
    files = [word for word in words if word.startswith(ROOT_PLACES) and "README" not in word]
    assert len(files) > 8
    assert not [file for file in files if not (repo_root / file).exists()]
    assert "## Limits" in (repo_root / "README.md").read_text(encoding="utf-8")


def test_an_item_holds_where_all_it_needs_is_so():
    needs = ("measured", "tone")
    item = Item(item="x", status="met", place="here", needs=needs, otherwise="partly")
    assert item.status_of({Fact.MEASURED, Fact.TONE, Fact.COLOUR}) is Status.MET
    assert item.status_of({Fact.MEASURED}) is Status.PARTLY
    assert Item(item="x", status="not met", place="").status_of(()) is Status.NOT_MET


@pytest.mark.parametrize("wrong", [{"needs": ["tone"]}, {"otherwise": "partly"}, {"needs": ["x"]}])
def test_needs_and_otherwise_belong_together(wrong):
    with pytest.raises(ValidationError):
        Item.model_validate({"item": "x", "status": "met", "place": "", **wrong})
