import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from diascope.config import DataConfig
from diascope.dataset import ManifestRow, check_split, joined_rows, read_manifest, split_rows
from diascope.errors import OutputError, SplitError
from diascope.labels import ManifestLabel
from diascope.splits import (
    check_split_output,
    deal,
    split_by_folds,
    split_by_source,
    write_split,
)

RED, BROWN, NEITHER, OTHER, MIXED = ManifestLabel


def row(number, label=RED, source="a", group=None, **extra):
    path = f"{number}.png"
    return ManifestRow(path, path, Path(path), label, "", source, group or path, None, extra)


def parts(split):
    return {each.path: each.extra["split"] for each in split.rows}


def parts_of_groups(split):
    found = {}
    for each in split.rows:
        found.setdefault(each.group_id, set()).add(each.extra["split"])
    return found


def two_classes(count=40):
    return [row(n, (RED, BROWN)[n % 2], "ab"[n // 2 % 2]) for n in range(count)]


# Folds.


@given(
    st.lists(
        st.tuples(st.sampled_from(list(ManifestLabel)), st.sampled_from("abc"), st.integers(0, 30)),
        min_size=20,
        max_size=90,
    ),
    st.integers(0, 3),
)
def test_every_row_is_in_one_fold_and_no_group_in_two(drawn, seed):
    rows = [row(n, label, source, f"g{group}") for n, (label, source, group) in enumerate(drawn)]
    try:
        split = split_by_folds(rows, 3, seed)
    except SplitError:
        reject()
    assert [each.path for each in split.rows] == [each.path for each in rows]
    assert {len(each) for each in parts_of_groups(split).values()} == {1}
    assert set(parts(split).values()) == {"fold-0", "fold-1", "fold-2"}
    assert split_by_folds(rows, 3, seed) == split
    check_split(split.rows)


def test_folds_are_even_in_class_source_and_tone():
    cells = [(kind, s, tone) for kind in (RED, BROWN) for s in "ab" for tone in ("I", "VI")]
    rows = [row(n, kind, s, fitzpatrick=t) for n, (kind, s, t) in enumerate(cells * 10)]
    split = split_by_folds(rows, 5, 0)
    found = Counter(
        (each.extra["split"], each.mark_type, each.source, each.extra["fitzpatrick"])
        for each in split.rows
    )
    assert set(found.values()) == {2}
    assert len(found) == 5 * 8


def test_strata_too_rare_to_deal_count_as_their_class():
    """One red row in each of ten sources: no source can be even, but the class is."""
    rows = [row(n, RED, f"s{n}") for n in range(10)] + [row(10 + n, BROWN) for n in range(10)]
    split = split_by_folds(rows, 5, 3)
    assert all(count == {RED: 2, BROWN: 2} for count in split.counts().values())


def test_the_seed_decides():
    rows = two_classes()
    assert parts(split_by_folds(rows, 4, 1)) != parts(split_by_folds(rows, 4, 2))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(n) for n in range(9)], r"only one class \(erythematous\) to deal; add rows"),
        ([row(n, OTHER) for n in range(9)], r"only one class \(none\)"),
        (
            [*(row(n) for n in range(9)), *(row(9 + n, BROWN, group="p") for n in range(9))],
            "hyperpigmented has 1 groups: too few for 3 folds; use fewer folds or add",
        ),
        ([row(n, (RED, BROWN)[n % 2], split="train") for n in range(9)], "is split already"),
    ],
)
def test_rows_that_cannot_be_dealt_are_refused(rows, message):
    with pytest.raises(SplitError, match=message):
        split_by_folds(rows, 3, 0)


def test_deal_is_scikit_learns():
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = ["r", "b", "b"] * 8, [f"g{n // 2}" for n in range(24)]
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=4)
    expected = [held.tolist() for _, held in folds.split(labels, labels, groups)]
    dealt = deal(labels, groups, 3, 4)
    assert [[n for n in range(24) if dealt[n] == fold] for fold in range(3)] == expected


# Sources.


def test_each_source_is_a_part_and_a_group_of_two_goes_to_the_one_with_most_of_it():
    rows = [
        *(row(n, (RED, BROWN)[n % 2], "ab"[n // 4]) for n in range(8)),
        row(8, RED, "a", "both"),
        row(9, RED, "b", "both"),
        row(10, RED, "b", "both"),
    ]
    split = split_by_source(rows)
    found = parts(split)
    assert [found[f"{n}.png"] for n in range(11)] == list("aaaabbbbbbb")
    assert (split.by, split.seed, split.folds) == ("source", None, None)
    check_split(split.rows)


@pytest.mark.parametrize("sources", ["aaaa", ["a", "b", "", "a"]])
def test_sources_that_cannot_be_left_out_are_refused(sources):
    rows = [row(n, (RED, BROWN)[n % 2], source) for n, source in enumerate(sources)]
    with pytest.raises(SplitError, match="fill the column source"):
        split_by_source(rows)


# Leaks.


def test_a_planted_leak_is_refused_naming_group_and_rows():
    split = split_by_folds(two_classes(), 4, 0)
    leaked = next(each for each in split.rows if each.extra["split"] == "fold-1")
    copy = row("copy", leaked.mark_type, "a", leaked.group_id, split="fold-3")
    with pytest.raises(SplitError) as caught:
        check_split([*split.rows, copy])
    told = str(caught.value)
    assert told.startswith("1 groups are in more than one part")
    assert f"{leaked.group_id} ({leaked.path} in fold-1, copy.png in fold-3)" in told
    assert told.count("\n") == 2
    config = DataConfig(validation_split="fold-0")
    with pytest.raises(SplitError, match="then leaks"):
        split_rows([*split.rows, copy], config, 0)


def test_a_person_on_both_sides_is_refused_but_not_a_number_that_two_sources_use():
    one = row(0, RED, "a", patient_id="7", split="train")
    with pytest.raises(SplitError, match=r"0\.png in train, 1\.png in test"):
        check_split([one, row(1, RED, "a", patient_id="7", split="test")])
    check_split([one, row(1, RED, "b", patient_id="7", split="test")])


def test_persons_and_groups_are_joined_before_a_split():
    rows = [
        row(0, RED, "a", "g", patient_id="p"),
        row(1, RED, "a", "h", patient_id="p"),
        row(2, RED, "b", "h", patient_id="q"),
        row(3, RED, "b", "i", patient_id="p"),
    ]
    joined = joined_rows(rows, DataConfig(join_copies=False))
    assert [each.group_id for each in joined] == ["0.png", "0.png", "0.png", "3.png"]


def test_a_row_in_no_part_is_refused():
    with pytest.raises(SplitError, match=r"1 row in no part of the split: 1\.png\n"):
        check_split([row(0, split="train"), row(1)])


# Training on a split.


def test_training_keeps_to_the_column():
    rows = [
        row(n, (RED, BROWN)[n % 2], split=("train", "validation", "test", "more")[n // 2])
        for n in range(8)
    ]
    training, validation = split_rows(rows, DataConfig(), 0)
    assert [each.path for each in training] == ["0.png", "1.png", "6.png", "7.png"]
    assert [each.path for each in validation] == ["2.png", "3.png"]
    named = DataConfig(validation_split="more", test_split="train")
    training, validation = split_rows(rows, named, 0)
    assert [each.path for each in training] == ["2.png", "3.png", "4.png", "5.png"]
    assert [each.path for each in validation] == ["6.png", "7.png"]


def test_an_unknown_part_and_a_single_class_are_refused():
    rows = [row(n, (RED, BROWN)[n // 4], split=f"fold-{n // 4}") for n in range(8)]
    with pytest.raises(SplitError, match=r"'validation'; here are fold-0, fold-1: name the one"):
        split_rows(rows, DataConfig(), 0)
    with pytest.raises(SplitError, match=r"outside fold-1 there is only one class \(erythematous"):
        split_rows(rows, DataConfig(validation_split="fold-1"), 0)


def test_without_the_column_rows_are_dealt_as_ever():
    """As the shipped models were trained: these groups must not change."""
    rows = [row(n, (RED, BROWN, NEITHER)[n % 3], "ab"[n % 2], f"g{n // 2}") for n in range(60)]
    _, validation = split_rows(rows, DataConfig(), 7)
    assert [each.path.removesuffix(".png") for each in validation] == PINNED


PINNED = ["0", "1", "12", "13", "26", "27", "38", "39", "40", "41", "52", "53"]


# Files.


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "set" / "in").mkdir(parents=True)
    columns = "path,mark_type,condition,source,group_id,left,top,right,bottom,patient_id,id,who"
    lines = [columns]
    for n in range(12):
        pixels = np.random.default_rng(n).integers(0, 255, (40, 40, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "set" / "in" / f"{n}.png"), pixels)
        box = "1,2,30,31.5" if n == 0 else ",,,"
        kind = (RED, BROWN)[n % 2]
        lines.append(f'in/{n}.png,{kind},"a, b",{"ab"[n // 6]},,{box},p{n // 2},{100 + n},Ä')
    file = tmp_path / "set" / "manifest.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return read_manifest(file)


def test_a_split_is_the_manifest_with_one_column_more(manifest):
    rows = joined_rows(manifest.rows, DataConfig(join_copies=False))
    out = manifest.path.with_name("split.csv")
    beside = write_split(split_by_folds(rows, 3, 5), manifest, out)
    again = read_manifest(out)
    for before, after in zip(rows, again.rows, strict=True):
        assert after.extra.pop("split") in {"fold-0", "fold-1", "fold-2"}
        assert after == before
    about = json.loads(beside.read_text())
    assert beside.name == "split.meta.json"
    assert (about["seed"], about["folds"], about["by"], about["groups"]) == (5, 3, "group", 6)
    assert about["manifest_digest"] == hashlib.sha256(manifest.path.read_bytes()).hexdigest()
    assert about["split_digest"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert sum(sum(part.values()) for part in about["rows"].values()) == 12


def test_a_split_in_a_folder_above_finds_the_same_pictures(manifest):
    out = manifest.path.parent.parent / "split.csv"
    write_split(split_by_source(manifest.rows), manifest, out)
    with out.open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["path"] == "set/in/0.png"
    found = [each.file.resolve() for each in read_manifest(out).rows]
    assert found == [each.file.resolve() for each in manifest.rows]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("manifest.csv", "is the manifest itself"),
        ("split.parquet", r"ends in \.csv"),
        ("in/split.csv", "or a folder above"),
        ("there.csv", "exists already"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_work(manifest, name, message):
    folder = manifest.path.parent
    (folder / "there.meta.json").write_text("{}")
    with pytest.raises(OutputError, match=message):
        check_split_output(folder / name, manifest.path, overwrite=False)


def test_a_leaking_split_is_never_written(manifest):
    split = split_by_source(manifest.rows)
    moved = split.rows[1].extra | {"split": "b"}
    rows = (split.rows[0], type(split.rows[1])(**{**vars(split.rows[1]), "extra": moved}))
    out = manifest.path.with_name("split.csv")
    with pytest.raises(SplitError, match="then leaks"):
        write_split(type(split)(rows, "source", None, None), manifest, out)
    assert not out.exists()
    assert not out.with_suffix(".meta.json").exists()
