"""What every data set is: facts about it, its rows, and what to fetch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from diascope.labels import ManifestLabel
from diascope.preprocess import Box


class Access(StrEnum):
    """How a set is got."""

    OPEN = "open"
    FORM = "form"
    ACCOUNT = "account"
    OWN = "own copy"


class Drop(StrEnum):
    """Why a row or a picture is left out, beside what the label map excludes."""

    UNGRADABLE = "ungradable"
    NO_LABEL = "no_label"
    BROKEN_LABEL = "broken_label"
    BELOW_WEIGHT = "below_weight"
    NOT_IN_MAP = "not_in_map"
    UNCERTAIN = "uncertain"
    WRONGLY_LABELLED = "wrongly_labelled"
    NOT_IN_OTHER_TABLE = "not_in_other_table"
    DUPLICATE_ID = "duplicate_id"
    SAME_PICTURE = "same_picture"
    TWO_LABELS = "two_labels"
    UNSAFE_PATH = "unsafe_path"
    NO_PICTURE = "no_picture"
    HTML_PAGE = "html_page"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class SourceRow:
    """One row of a set's table, or one file of its folders, before any decision.

    Attributes:
        where: file and line, for messages.
        id: unique in the set.
        labels: condition names as the set writes them, each with its weight (any scale).
        pictures: paths relative to the set's root, or bare names that are looked for under it.
        addresses: where each picture can be fetched; empty where unknown.
        patient_id, group_id, fitzpatrick, monk: empty where unknown.
        mark_type: stated by the table itself; the label map is then not asked.
        concepts: what annotators saw in the picture; None where nobody looked.
        source, licence: where they differ from the set's own.
        drop: the set's own reason to leave the row out.
    """

    where: str
    id: str
    labels: tuple[tuple[str, float], ...] = ()
    pictures: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    patient_id: str = ""
    group_id: str = ""
    fitzpatrick: str = ""
    monk: str = ""
    box: Box | None = None
    mark_type: ManifestLabel | None = None
    concepts: tuple[str, ...] | None = None
    source: str = ""
    licence: str = ""
    drop: Drop | None = None


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        name: as the command line, the manifest and the label map call it.
        holds: what it holds for telling red from brown, in one or two sentences.
        traps: what goes wrong where nobody looks.
        rows: root -> every row of its tables; raises SourceError for another layout.
        tables: path under the root -> address, of the tables that ``fetch`` needs first.
        by_name: pictures are looked for by file name anywhere under the root.
        concept_map: name of the label map of ``SourceRow.concepts``.
        in_domain: photographs as a phone or a clinic takes them; False for dermoscopy.
    """

    name: str
    title: str
    access: Access
    address: str
    licence: str
    terms: str
    citation: str
    holds: str
    traps: tuple[str, ...]
    rows: Callable[[Path], Iterator[SourceRow]]
    tables: tuple[tuple[str, str], ...] = ()
    by_name: bool = False
    concept_map: str | None = None
    in_domain: bool = True
