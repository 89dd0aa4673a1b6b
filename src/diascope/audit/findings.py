"""From a manifest to findings: groups, copies under two labels, suspects, tone against class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from diascope.audit.survey import Survey, survey
from diascope.audit.suspects import Suspect, suspects
from diascope.baseline import out_of_fold_probabilities
from diascope.dataset import Manifest, ManifestRow, with_joined_groups
from diascope.duplicates import CopyPair
from diascope.errors import ManifestError
from diascope.inference import Predictor
from diascope.labels import ManifestLabel, MarkType
from diascope.metrics import Floats, Interval, auroc, bootstrap_interval
from diascope.progress import Track, silent
from diascope.splits import deal

_RED, _BROWN = ManifestLabel(MarkType.ERYTHEMATOUS), ManifestLabel(MarkType.HYPERPIGMENTED)


@dataclass(frozen=True)
class Conflict:
    """Two pictures of one photograph under two labels; ``seen[pair.i]``, ``seen[pair.j]``."""

    pair: CopyPair
    first: ManifestLabel
    second: ManifestLabel


@dataclass(frozen=True)
class Audit:
    """What was found in a manifest.

    Attributes:
        manifest: as read.
        survey: its rows with groups joined by copies, patients and groups known.
        joined_before: whether the manifest, its patients or the groups known joined the two
            pictures of each pair already.
        conflicts: copies under two labels.
        suspects: likely label errors, of indices into ``survey.seen``; None: not looked for.
        judged: labels among which label errors were looked for.
        folds: of the cross-validation behind the suspects.
        tone_auroc: of the estimated ITA alone, brown against red, below 0.5 turned round.
        darker: the class with the lower ITA.
        model: name and digest of the network behind the embeddings.
        photographs: how many the network learnt from.
    """

    manifest: Manifest
    survey: Survey
    joined_before: tuple[bool, ...]
    conflicts: tuple[Conflict, ...]
    suspects: tuple[Suspect, ...] | None
    judged: tuple[ManifestLabel, ...]
    folds: int
    tone_auroc: Interval | None
    darker: ManifestLabel | None
    model: str
    photographs: int

    @property
    def rows(self) -> tuple[ManifestRow, ...]:
        """Rows of the pictures seen, groups joined."""
        return tuple(seen.row for seen in self.survey.seen)

    def groups(self) -> list[list[int]]:
        """Indices of every joined group of two pictures or more, the largest first."""
        members: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            members.setdefault(row.group_id, []).append(index)
        return sorted((each for each in members.values() if len(each) > 1), key=len, reverse=True)


def audit(
    manifest: Manifest,
    predictor: Predictor,
    *,
    known: Mapping[str, str] | None = None,
    copies: bool = True,
    folds: int | None = 5,
    seed: int = 0,
    track: Track = silent,
) -> Audit:
    """Look at every picture of a manifest and say what is odd; nothing is changed.

    Args:
        manifest: pictures, labels, sources, groups; ``patient_id``, ``fitzpatrick``, ``monk``
            where known.
        predictor: its network's pooled features, beside colour statistics, are what labels are
            held against.
        known: group of a path, of copies and persons known (``dataset.known_groups``).
        copies: look for near-duplicates.
        folds: of the cross-validation behind likely label errors; None: do not look for them.
        seed: of the deal into folds.
        track: shows progress.

    Raises:
        ManifestError: no picture of it can be read.
    """
    found = survey(manifest.rows, predictor, copies=copies, track=track)
    if not found.seen:
        row, error = found.unreadable[0]
        raise ManifestError(
            f"{manifest.path}: none of its {len(manifest.rows)} pictures can be read; "
            f"the first is {row.path}: {error.detail}"
        )
    before = with_joined_groups([seen.row for seen in found.seen], (), known or {})
    rows = with_joined_groups(before, found.pairs, {})
    seen = tuple(replace(each, row=row) for each, row in zip(found.seen, rows, strict=True))
    judged = () if folds is None else _judged(rows, folds)
    wrong = None
    if folds is not None and len(judged) > 1:
        wrong = _suspects(rows, found.features, judged, folds, seed, track)
    interval, darker = _tone_confound(rows, [each.ita_degrees for each in seen])
    return Audit(
        manifest=manifest,
        survey=replace(found, seen=seen),
        joined_before=tuple(
            before[pair.i].group_id == before[pair.j].group_id for pair in found.pairs
        ),
        conflicts=_conflicts(rows, found.pairs),
        suspects=wrong,
        judged=judged,
        folds=folds or 0,
        tone_auroc=interval,
        darker=darker,
        model=predictor.name,
        photographs=predictor.bundle.description.data.photographs,
    )


def _conflicts(rows: Sequence[ManifestRow], pairs: Sequence[CopyPair]) -> tuple[Conflict, ...]:
    found = (Conflict(pair, rows[pair.i].mark_type, rows[pair.j].mark_type) for pair in pairs)
    return tuple(each for each in found if each.first is not each.second)


def _judged(rows: Sequence[ManifestRow], folds: int) -> tuple[ManifestLabel, ...]:
    """Labels with a group for every fold; ``mixed`` is red and brown and cannot be wrong as one."""
    groups = Counter(label for label, _ in {(row.mark_type, row.group_id) for row in rows})
    labels = (label for label in ManifestLabel if label is not ManifestLabel.MIXED)
    return tuple(label for label in labels if groups[label] >= folds)


def _suspects(
    rows: Sequence[ManifestRow],
    features: Floats,
    judged: Sequence[ManifestLabel],
    folds: int,
    seed: int,
    track: Track,
) -> tuple[Suspect, ...]:
    kept = [index for index, row in enumerate(rows) if row.mark_type in judged]
    labels = [rows[index].mark_type.value for index in kept]
    fold_of = deal(labels, [rows[index].group_id for index in kept], folds, seed)
    probabilities, classes = out_of_fold_probabilities(features[kept], labels, fold_of, track=track)
    found = suspects(probabilities, labels, classes)
    return tuple(replace(each, row=kept[each.row]) for each in found)


def _tone_confound(
    rows: Sequence[ManifestRow], ita: Sequence[float]
) -> tuple[Interval | None, ManifestLabel | None]:
    """How well tone alone tells red from brown, and which of the two is darker."""
    index = [n for n, row in enumerate(rows) if row.mark_type in (_RED, _BROWN)]
    brown = np.array([rows[n].mark_type is _BROWN for n in index], dtype=bool)
    if len(set(brown.tolist())) < 2:
        return None, None
    degrees = np.array([ita[n] for n in index])
    sign = 1.0 if auroc(brown, -degrees) >= 0.5 else -1.0
    interval = bootstrap_interval(
        lambda counts: auroc(brown, -sign * degrees, counts),
        brown,
        np.array([rows[n].group_id for n in index]),
    )
    return interval, _BROWN if sign > 0 else _RED
