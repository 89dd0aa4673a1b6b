"""The checkpoint contract: a folder that says what its network is, and proves it is unchanged.

A bundle holds ``bundle.json`` (the description, with the SHA-256 of every other file),
``weights.safetensors``, ``model.onnx``, ``MODEL_CARD.md``; where the gates bound the distance from
the pictures learnt from, ``features.safetensors``; and where the weights are not under the code's
licence, ``LICENCE``. It is saved whole or not at all and loaded only if nothing is missing,
changed or extra. No torch here.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from diascope.calibration import ConformalGate
from diascope.colour import OPTICAL_DENSITY_OFFSET
from diascope.config import GateConfig, NetworkConfig, QualityConfig
from diascope.errors import BundleError, OutputError
from diascope.evidence import Fact, Status, guidelines
from diascope.familiarity import FeatureSpace
from diascope.labels import LABEL_ORDER, MarkType
from diascope.preprocess import DEPTH_RANGE

SCHEMA_VERSION: Literal[1] = 1
"""Raised when an older diascope would read a new ``bundle.json`` wrongly."""

SHIPPED = ("photos", "rendered")
"""Bundles that travel with diascope; the first is the default."""

DESCRIPTION = "bundle.json"
WEIGHTS = "weights.safetensors"
FEATURES = "features.safetensors"
ONNX = "model.onnx"
CARD = "MODEL_CARD.md"
LICENCE = "LICENCE"

DRAWN = "drawn"
"""First word of the data of a figure that was measured on no photograph."""

_MEND = "restore the folder from its source, or train again"
_REQUIRED = (WEIGHTS, ONNX, CARD)
_KNOWN = (*_REQUIRED, FEATURES, LICENCE)

_ZEROS = "0" * 64

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, Field(min_length=1)]
Arrays = dict[str, npt.NDArray[Any]]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Figure(_Part):
    """One measured number with its 95 % interval, and how to measure it again."""

    name: Words
    value: float
    low: float = Field(description="lower end of the 95 % interval")
    high: float = Field(description="upper end of the 95 % interval")
    n: int = Field(ge=1, description="pictures measured")
    data: Words
    command: Words

    @model_validator(mode="after")
    def _interval_is_ordered(self) -> "Figure":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Preprocessing(_Part):
    """How a picture becomes the network's input."""

    size: int = Field(ge=32, le=512, description="side of the input in pixels")
    optical_density_offset: float = OPTICAL_DENSITY_OFFSET
    reference: Literal["70th_percentile_of_unclipped_skin"] = "70th_percentile_of_unclipped_skin"
    depth_range: tuple[float, float] = DEPTH_RANGE

    @field_validator("optical_density_offset")
    @classmethod
    def _offset_is_the_code_s(cls, value: float) -> float:
        if value != OPTICAL_DENSITY_OFFSET:
            raise ValueError(f"this diascope prepares pictures with {OPTICAL_DENSITY_OFFSET}")
        return value

    @field_validator("depth_range")
    @classmethod
    def _bounds_are_the_code_s(cls, value: tuple[float, float]) -> tuple[float, float]:
        if value != DEPTH_RANGE:
            raise ValueError(f"this diascope bounds density to {DEPTH_RANGE}")
        return value


class TrainingData(_Part):
    """What the weights learnt from."""

    digest: Sha256 | None = Field(
        description="of the photographs as read: pixels, targets, sources, groups; None: without"
    )
    summary: Words
    rendered: int = Field(ge=0)
    photographs: int = Field(ge=0)


class BundleDescription(_Part):
    """Everything in ``bundle.json``; ``files`` is filled in when the bundle is saved."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    version: Words = Field(description="of the diascope that trained it")
    created: AwareDatetime
    labels: tuple[str, ...] = tuple(label.value for label in LABEL_ORDER)
    preprocessing: Preprocessing
    network: NetworkConfig
    parameters: int = Field(ge=1)
    temperature: float = Field(gt=0.0)
    gates: GateConfig
    quality: QualityConfig
    conformal: ConformalGate | None = Field(
        None, description="what was fitted for the rule conformal; needed where gates.rule says so"
    )
    figures: tuple[Figure, ...] = ()
    data: TrainingData
    data_licence: Words
    intended_use: Words
    library_versions: dict[str, str]
    command: Words = Field(description="that trained it")
    files: dict[str, Sha256] = Field(default_factory=dict)
    checksum: Sha256 = Field(_ZEROS, description="of bundle.json with zeros in this place")

    @model_validator(mode="after")
    def _the_rule_has_what_it_needs(self) -> "BundleDescription":
        if self.gates.rule == "conformal" and self.conformal is None:
            raise ValueError("gates.rule is conformal, but conformal is null")
        return self

    @field_validator("labels")
    @classmethod
    def _labels_are_in_the_one_order(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if labels != LABEL_ORDER:
            raise ValueError(f"the label order must be {', '.join(LABEL_ORDER)}")
        return labels


@dataclass(frozen=True)
class Bundle:
    """A verified bundle; its files are held as they were when their digests were checked."""

    folder: Path
    description: BundleDescription
    digest: str
    """SHA-256 of ``bundle.json`` in hex: names this very model."""
    files: Mapping[str, bytes] = field(repr=False)

    def onnx_bytes(self) -> bytes:
        """Give the network as a serialised ONNX model."""
        return self.files[ONNX]

    def weights(self) -> Arrays:
        """Give the network's arrays by name.

        Raises:
            BundleError: the file is no safetensors file.
        """
        return self._arrays(WEIGHTS)

    def feature_space(self) -> FeatureSpace | None:
        """Where the pictures of training lie; None where the gates bound no distance.

        Raises:
            BundleError: the file is no safetensors file, or holds other arrays.
        """
        if FEATURES not in self.files:
            return None
        try:
            return FeatureSpace.of_arrays(self._arrays(FEATURES))
        except ValueError as error:
            raise BundleError(f"{self.folder / FEATURES}: {error}; {_MEND}") from error

    def _arrays(self, name: str) -> Arrays:
        try:
            return safetensors.numpy.load(self.files[name])
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise BundleError(
                f"{self.folder / name}: not a safetensors file ({error}); {_MEND}"
            ) from error


def resolve_bundle(bundle: str | os.PathLike[str] | None = None) -> Path:
    """Find a bundle's folder: a shipped name (``None``: the default one) or a path.

    Raises:
        BundleError: a shipped bundle that is not in this installation.
    """
    name = SHIPPED[0] if bundle is None else bundle
    if not isinstance(name, str) or name not in SHIPPED:
        return Path(name)
    for folder in _shipped_folders():
        if (folder / name).is_dir():
            return folder / name
    raise BundleError(
        f"{name}: this shipped bundle is not in the installation;\n"
        "use --model rendered or a bundle's folder; in a checkout, make models"
    )


def _shipped_folders() -> Iterator[Path]:
    package = Path(__file__).resolve().parent
    yield package / "_models"
    if package.parent.name == "src":  # a checkout: models/ becomes _models/ only in the wheel
        yield package.parent.parent / "models"


def load_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and verify every file against its digest.

    Raises:
        BundleError: a file is missing, changed or unknown, ``bundle.json`` is of another schema,
            or its label order is another.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleError(
            f"{folder}: no such bundle; give a folder that holds {DESCRIPTION}, "
            f"or a shipped name ({', '.join(SHIPPED)})"
        )
    raw = _read(folder / DESCRIPTION)
    description = _parse(raw, folder / DESCRIPTION)
    bounds = description.conformal is not None and description.conformal.most_distance is not None
    _check_names(folder, description.files, (*_REQUIRED, FEATURES) if bounds else _REQUIRED)
    files = {name: _read_verified(folder / name, of) for name, of in description.files.items()}
    return Bundle(folder, description, _sha256(raw), files)


def _check_names(folder: Path, listed: Mapping[str, str], needed: Sequence[str]) -> None:
    for name in needed:
        if name not in listed:
            raise BundleError(f"{folder / DESCRIPTION}: lists no digest of {name}; {_MEND}")
    # The closed list also keeps a listed name from pointing out of the folder.
    for name in listed:
        if name not in _KNOWN:
            raise BundleError(f"{folder / DESCRIPTION}: lists unknown file {name!r}; {_MEND}")
    for name in _entries(folder):
        if name not in listed and name != DESCRIPTION:
            raise BundleError(f"{folder / name}: not a file of this bundle; move it elsewhere")


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not _is_finder_s(entry))


def _is_finder_s(entry: Path) -> bool:
    """True for what the Finder of macOS leaves in any folder it shows or copies."""
    return entry.is_file() and (entry.name == ".DS_Store" or entry.name.startswith("._"))


def _read_verified(file: Path, expected: str) -> bytes:
    content = _read(file)
    if _sha256(content) != expected:
        raise BundleError(_changed(file))
    return content


def _changed(file: Path) -> str:
    return f"{file}: changed since the bundle was saved (its SHA-256 is another);\n{_MEND}"


def _read(file: Path) -> bytes:
    if not file.is_file():
        raise BundleError(f"{file}: missing, the bundle is incomplete; {_MEND}")
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error.strerror}") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _parse(raw: bytes, file: Path) -> BundleDescription:
    try:
        version = from_json(raw, allow_inf_nan=False)["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{file}: not a bundle's description; {_MEND}") from error
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"{file}: schema version {version}, this diascope reads {SCHEMA_VERSION};\n"
            "use the diascope that saved it, or train again"
        )
    try:
        description = BundleDescription.model_validate_json(raw)
    except ValidationError as error:
        raise BundleError(_explain(error, file)) from error
    _refuse_absent_settings(description, file)
    if description.checksum != _sha256(raw.replace(description.checksum.encode(), _ZEROS.encode())):
        raise BundleError(_changed(file))
    return description


def _seal(description: BundleDescription) -> tuple[BundleDescription, bytes]:
    """Fill in the checksum; the description and its bytes."""
    blank = description.model_copy(update={"checksum": _ZEROS}).model_dump_json(indent=2) + "\n"
    checksum = _sha256(blank.encode())
    sealed = blank.replace(_ZEROS, checksum)
    return description.model_copy(update={"checksum": checksum}), sealed.encode()


def _explain(error: ValidationError, file: Path) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{file}: {key}: {message};\n{_MEND}"


def _refuse_absent_settings(description: BundleDescription, file: Path) -> None:
    # A default of today must not stand in for what the bundle was saved with.
    parts: dict[str, BaseModel] = {
        "": description,
        "preprocessing.": description.preprocessing,
        "network.": description.network,
        "gates.": description.gates,
        "quality.": description.quality,
    }
    for prefix, part in parts.items():
        for key in type(part).model_fields:
            if key not in part.model_fields_set:
                raise BundleError(f"{file}: {prefix}{key} is missing; {_MEND}")


def save_bundle(
    folder: str | os.PathLike[str],
    description: BundleDescription,
    weights: Mapping[str, npt.NDArray[Any]],
    onnx: bytes,
    licence: str | None,
    *,
    features: FeatureSpace | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle whole or not at all; ``description.files`` is filled in here.

    ``licence`` is the text of the weights' own LICENCE file; None: they are under the code's.
    ``features`` are needed where the description bounds the distance to them.

    Raises:
        OutputError: the folder exists (and ``overwrite`` is False, or it holds other files than a
            bundle's), or cannot be written.
        BundleError: weights that are not finite.
    """
    folder = Path(folder).resolve()
    _check_target(folder, overwrite)
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise BundleError(f"{folder}: weights {name} are not finite; nothing was saved")
    files = {WEIGHTS: _safetensors(weights), ONNX: onnx}
    if features is not None:
        files[FEATURES] = _safetensors(features.arrays())
    if licence is not None:
        files[LICENCE] = licence.encode()
    return _write(folder, description, files, overwrite)


def _safetensors(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    # It writes memory order: an array in another order would come back shuffled.
    ordered = {name: np.array(values, order="C") for name, values in arrays.items()}
    return safetensors.numpy.save(ordered)


def with_figures(folder: str | os.PathLike[str], figures: Sequence[Figure]) -> Bundle:
    """Put these figures in the place of a saved bundle's; card and digests follow.

    Raises:
        BundleError: the bundle is not whole.
        OutputError: it cannot be written.
    """
    bundle = load_bundle(Path(folder).resolve())
    description = bundle.description.model_copy(update={"figures": tuple(figures)})
    files = {name: content for name, content in bundle.files.items() if name != CARD}
    return _write(bundle.folder, description, files, overwrite=True)


def _check_target(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{folder}: a file is in the way; give another folder")
    entries = _entries(folder)
    if entries and not overwrite:
        raise OutputError(f"{folder}: exists already; use --overwrite or give another folder")
    # What is replaced is deleted, so it must be a bundle and nothing else.
    for name in entries:
        if name not in (DESCRIPTION, *_KNOWN):
            raise OutputError(
                f"{folder}: holds {name}, which is no file of a bundle; give another folder"
            )


def _write(
    folder: Path, description: BundleDescription, files: Mapping[str, bytes], overwrite: bool
) -> Bundle:
    files = {**files, CARD: model_card(description).encode()}
    digests = {name: _sha256(content) for name, content in sorted(files.items())}
    description, raw = _seal(description.model_copy(update={"files": digests}))
    # Beside the target, so that the last step is a rename.
    draft = folder.parent / f".{folder.name}.{secrets.token_hex(6)}.partial"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        for name, content in {**files, DESCRIPTION: raw}.items():
            _write_file(draft / name, content)
        _sync_folder(draft)
        load_bundle(draft)
        _install(draft, folder, overwrite)
        _sync_folder(folder.parent)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from error
    finally:
        _discard(draft)
    return Bundle(folder, description, _sha256(raw), files)


def _write_file(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _install(draft: Path, folder: Path, overwrite: bool) -> None:
    """Give the whole draft its name; what had the name before is then called as the draft was."""
    try:
        draft.rename(folder)  # takes the place of an empty folder, never of a full one
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if not overwrite:
        raise OutputError(f"{folder}: exists already; use --overwrite or give another folder")
    if not _exchange(draft, folder):
        _replace_in_two_steps(draft, folder)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where system or file system cannot."""
    libc = ctypes.CDLL(None)
    swap = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            return bool(libc.renamex_np(*names, swap) == 0)
        here = -100  # AT_FDCWD
        return bool(libc.renameat2(here, names[0], here, names[1], swap) == 0)
    except AttributeError:
        return False


def _replace_in_two_steps(draft: Path, folder: Path) -> None:
    former = draft.with_suffix(".former")
    folder.rename(former)
    try:
        draft.rename(folder)
    except OSError:
        former.rename(folder)
        raise
    _discard(former)


def _discard(folder: Path) -> None:
    # Only a bundle's own files: a stranger's file, and with it the folder, stays.
    for name in (DESCRIPTION, *_KNOWN):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for entry in filter(_is_finder_s, list(folder.iterdir())):
            entry.unlink()
        folder.rmdir()


def model_card(description: BundleDescription) -> str:
    """Write the card a reader sees first, in Markdown, from the description alone.

    Its nine sections are those of Mitchell et al., Model Cards for Model Reporting, FAT* 2019;
    after them, how far it meets three reporting guidelines.
    """
    sections = {
        "Model details": _details(description),
        "Intended use": f"{_paragraph(description.intended_use)}\n\n{_DOES}\n\n{_CANNOT}",
        "Factors": _FACTORS,
        "Metrics": f"{_METRICS}\n\n{_gates(description)}",
        "Evaluation data": _evaluation_data(description),
        "Training data": _learnt_from(description),
        "Quantitative analyses": _figures_table(description.figures),
        "Ethical considerations": _ETHICS,
        "Caveats and recommendations": _caveats(description),
        "Evidence": _evidence(description),
    }
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections.items())
    return f"# {description.name}\n\n{_paragraph(description.intended_use)}\n\n{text}\n"


_DOES = (
    "Tells red marks (erythematous, from blood vessels) from brown marks (hyperpigmented, from "
    "melanin) in a photograph of skin, or says that there is no such mark. Gives a calibrated "
    "probability of each, and declines where the picture or the figures do not allow a verdict. "
    "For those who study, teach or sort such photographs."
)
_CANNOT = (
    "Out of scope: it names a colour, not a cause or a disease. It does not find, grade or exclude "
    "moles, tumours, infections or any other disease, and it can be wrong with a high probability "
    "on pictures unlike those it learnt from: other cameras, filters, make-up, coloured light, a "
    "mark that fills the frame. It replaces no clinician."
)
_FACTORS = (
    "Skin tone; contrast of the mark with its skin; size and layout of the mark; light, white "
    "balance, exposure and file of the picture; source of the picture. Tone of photographs is "
    "estimated from the picture (ITA) unless the manifest labels it; drawn skin has its tone "
    "exactly. Age, sex and ancestry are unknown and enter nothing."
)
_METRICS = (
    "AUROC of red against brown is the figure that counts; brown is the positive class. Beside it: "
    "share decided and share right of it, risk-coverage areas (AURC, AUGRC; low is good), "
    "calibration error (ECE, 15 bins of equal mass, beside what perfect calibration would show) "
    "and Brier score before and after temperature, gaps between skin tones (largest less least), "
    "verdicts that flip when the picture changes. Intervals are 95 %, by bootstrap over persons "
    "and copies, of a share never closer to 0 or 1 than so few groups can tell; under 30 pictures "
    "is insufficient data."
)
_ETHICS = (
    "The photographs show people who were not asked by us; none is distributed. A verdict may calm "
    "where a clinician is needed: red flags come first in the guidance whatever the verdict. "
    "Public photographs hold almost no redness on dark skin, so that figures on them say little "
    "there; drawn marks on dark skin are no proof. No name, age or place of a person enters or "
    "leaves."
)


def _details(description: BundleDescription) -> str:
    preprocessing = description.preprocessing
    libraries = ", ".join(
        f"{name} {of}" for name, of in sorted(description.library_versions.items())
    )
    return (
        f"A convolutional network of {description.parameters} parameters with three outputs "
        f"({', '.join(description.labels)}); input: optical density relative to the picture's "
        f"{preprocessing.reference.replace('_', ' ')}, {preprocessing.size} px.\n\n"
        f"Made by diascope {description.version} on {description.created:%Y-%m-%d}, with "
        f"{libraries}:\n\n    {_paragraph(description.command)}"
    )


def _evaluation_data(description: BundleDescription) -> str:
    data = list(dict.fromkeys(figure.data.partition(": ")[0] for figure in description.figures))
    listed = "\n".join(f"- {_paragraph(each)}" for each in data) or "None yet."
    seen = (
        "Figures called `_by_group` and `_by_source` are of this recipe trained without the "
        "pictures measured; any other figure on photographs may include some it learnt from."
        if description.data.photographs
        else "It learnt from no photograph: every figure on photographs is on pictures new to it."
    )
    return (
        f"{listed}\n\n{seen} Labels of photographs are those of their sources: an appearance by "
        "the source's diagnosis, one label a picture, raters unknown. All is retrospective."
    )


def _caveats(description: BundleDescription) -> str:
    research = (
        "" if description.data.photographs == 0 else " Keep to the data's licence, named above."
    )
    return (
        "A field that is red or brown from edge to edge leaves no skin to compare with: take the "
        "picture from further away, or give a box. On pictures from a source it never saw, expect "
        "the figures of sources left out. Lesions that are neither red nor brown marks often get a "
        "colour all the same: a colour named is no all-clear. Measure it on your own pictures with "
        f"`diascope evaluate` before you rely on it.{research}"
    )


def _evidence(description: BundleDescription) -> str:
    facts = _facts(description)
    parts = []
    for guideline in guidelines():
        counts = Counter(item.status_of(facts) for item in guideline.items)
        told = ", ".join(f"{counts[status]} {status}" for status in Status)
        rows = [
            f"| {_cell(item.item)} | {item.status_of(facts)} | {_cell(item.place)} |"
            for item in guideline.items
        ]
        head = f"**{guideline.name}** ({guideline.source}): {told}."
        parts.append("\n".join([head, "", "| item | status | place |", "| - | - | - |", *rows]))
    return "\n\n".join([_BY_OURSELVES, *parts])


_BY_OURSELVES = "By our own reading; nobody else has checked it. Items are in our words."


def _facts(description: BundleDescription) -> set[Fact]:
    """What the figures show to have been measured."""
    names = {figure.name for figure in description.figures}
    apart = any("_by_group" in name or "_by_source" in name for name in names)
    on_photographs = any(
        figure.name.startswith("auroc_red_vs_brown") and figure.data.partition(" ")[0] != DRAWN
        for figure in description.figures
    )
    found = {
        Fact.MEASURED: bool(names),
        Fact.UNSEEN: apart or (description.data.photographs == 0 and on_photographs),
        Fact.CALIBRATION: any(name.startswith("ece_before") for name in names),
        Fact.TONE: any(name.startswith("auroc_gap") for name in names),
        Fact.COLOUR: any("colour_alone" in name for name in names),
        Fact.STURDINESS: "verdict_flips" in names,
    }
    return {fact for fact, holds in found.items() if holds}


def _learnt_from(description: BundleDescription) -> str:
    data = description.data
    as_read = "SHA-256 of the photographs as read (pixels, targets, sources, groups)"
    digest = f"- {as_read}: `{data.digest}`\n" if data.digest else ""
    return (
        f"{_paragraph(data.summary)}\n\n"
        f"- rendered pictures: {data.rendered}\n"
        f"- photographs: {data.photographs}\n{digest}"
        f"- licence of the data: {_paragraph(description.data_licence)}"
    )


def _figures_table(figures: Sequence[Figure]) -> str:
    if not figures:
        return "None measured yet."
    commands = list(dict.fromkeys(_paragraph(figure.command) for figure in figures))
    number = {command: place for place, command in enumerate(commands, start=1)}
    rows = [
        f"| {_cell(figure.name)} | {figure.value:.3f} | {_interval(figure)} "
        f"| {figure.n} | {_cell(figure.data)} | {number[_paragraph(figure.command)]} |"
        for figure in figures
    ]
    head = "| figure | value | 95 % interval | n | data | command |\n| - | -: | :-: | -: | - | -: |"
    listed = [f"{place}. {_code(command)}" for command, place in number.items()]
    return "\n".join([head, *rows, "", "Commands:", "", *listed])


def _interval(figure: Figure) -> str:
    if figure.low == figure.high:
        return f"{figure.low:.3f} to {figure.high:.3f} (no draw differs: truly wider)"
    return f"{figure.low:.3f} to {figure.high:.3f}"


def _gates(description: BundleDescription) -> str:
    gates, fitted = description.gates, description.conformal
    rule = (
        "Rule floor: `neither` where likeliest, or from P(neither) "
        f"{gates.neither_threshold:g} on; `unclear` where the likelier of red and brown has less "
        f"than {gates.separation_floor:g} of the two."
    )
    if gates.rule == "conformal" and fitted is not None:
        rule = _conformal_gate(fitted)
    temperature = f"Temperature {description.temperature:.4g}."
    return f"{temperature} {rule}\n\n{_quality(description.quality)}"


def _quality(least: QualityConfig) -> str:
    return (
        f"`not_assessable` without colour, or where what is judged has a shorter side under "
        f"{least.least_resolution} pixels, sharpness under {least.least_sharpness:g}, exposure "
        f"under {least.least_exposure:g}, more than {least.most_clipped:g} of its lit pixels "
        f"clipped, or less than {least.least_skin:g} of all its pixels that can be skin."
    )


def _conformal_gate(fitted: ConformalGate) -> str:
    least = ", ".join(
        f"{name} {value:.3f} ({fitted.rows[name]} pictures, {fitted.groups[name]} groups)"
        for name, value in fitted.least_probability.items()
    )
    if fitted.most_distance is None:
        far = "where nothing is"
    else:
        share = f"{100 * fitted.familiar_share:g} %"
        far = f"where nothing is, or farther from what it learnt from than {share} of those"
    bare = ", or unmarked skin is beside a colour that is likelier"
    unsure = bare * (fitted.least_probability[MarkType.NEITHER] > 0)
    least_named = f" A colour is named from {fitted.least_to_name:.3f} on, else `unclear`."
    naming = least_named * (fitted.least_to_name > 0)
    return (
        f"Rule conformal: sets fitted to hold {100 * fitted.coverage:g} % of each class, on "
        f"{_paragraph(fitted.data)}. A class is in the set from this probability on: {least}. "
        f"`unclear` where both colours are in it, or the likeliest of the three is not{unsure}, "
        f"`not_assessable` {far}, `neither` where that is the likeliest.{naming}"
    )


def _paragraph(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _paragraph(text).replace("|", "\\|").replace("`", "'")


def _code(text: str) -> str:
    """Words as they are, between more backticks than they hold in a row (CommonMark 6.1)."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"
