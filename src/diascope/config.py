"""What a run can be told: TOML in, :class:`RunConfig` or ``ConfigError`` out.

Every default of training lives here once. Unknown keys are refused.
"""

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from diascope.errors import ConfigError

C = TypeVar("C", bound=BaseModel)

Angle = Annotated[float, Field(ge=-90.0, le=90.0)]
Distance = Annotated[float, Field(gt=0.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
# On CPU, torch 2.14 corrupts memory in the backward pass of narrower strided 1x1 convolutions.
Width = Annotated[int, Field(ge=16, le=1024)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class DataConfig(_Section):
    """Where training pictures come from and how they are split."""

    rendered_count: int = Field(8000, ge=0, description="pictures rendered for training")
    rendered_validation: int = Field(600, ge=0, description="pictures rendered for validation")
    rendered_share: Share = Field(0.5, description="share of each batch that is rendered")
    rendered_contrast: list[Distance] = Field(
        [4.5, 32.0],
        min_length=2,
        max_length=2,
        description="least and largest CIELAB distance of a drawn mark from its skin",
    )
    validation_share: float = Field(0.2, gt=0.0, lt=1.0, description="share of photograph groups")
    validation_split: str = Field(
        "validation", min_length=1, description="part to validate on, given a column split"
    )
    test_split: str = Field(
        "test", min_length=1, description="part never trained on, given a column split"
    )
    groups: str | None = Field(
        None,
        description="CSV (path, group_id) of copies and persons, beside the config; empty: none",
    )
    join_copies: bool = Field(True, description="look for copies before splitting")


class PreprocessConfig(_Section):
    """How a picture becomes the network's input; travels in the bundle."""

    size: int = Field(128, ge=32, le=512, description="side of the input in pixels")


class NetworkConfig(_Section):
    """Shape of the network."""

    widths: list[Width] = Field(
        [16, 32, 64, 96], min_length=2, max_length=6, description="channels of each stage"
    )
    dropout: float = Field(0.1, ge=0.0, lt=1.0)


class AugmentConfig(_Section):
    """Changes a training picture may suffer: geometry, exposure, white balance, camera."""

    min_crop: float = Field(0.35, gt=0.0, le=1.0, description="least share of the area kept")
    exposure_stops: float = Field(0.7, ge=0.0, le=2.0, description="largest change of exposure")
    white_balance: float = Field(
        0.06, ge=0.0, le=0.2, description="largest change of log10 gain of red and blue"
    )
    blur: Share = Field(0.15, description="probability")
    noise: Share = Field(0.2, description="probability")
    jpeg: Share = Field(0.2, description="probability")


class TrainConfig(_Section):
    """The fit."""

    epochs: int = Field(30, ge=1)
    samples_per_epoch: int = Field(2048, ge=1)
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(2e-3, gt=0.0)
    weight_decay: float = Field(0.02, ge=0.0)
    warmup_share: Share = Field(0.05, description="share of all steps")
    ema_decay: float = Field(0.995, ge=0.0, lt=1.0)
    start_share: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        description="share of the weights started from that stays in the result (WiSE-FT)",
    )
    label_smoothing: float = Field(0.05, ge=0.0, lt=1.0)
    place_weight: float = Field(
        0.0, ge=0.0, description="weight of the loss on where drawn marks lie; 0: not taught"
    )
    patience: int = Field(10, ge=1, description="epochs without a better one before stopping")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1, description="ranks")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    threads: int | None = Field(None, ge=1, description="torch threads; all cores when absent")
    workers: int = Field(0, ge=0, description="processes that prepare pictures beside the fit")


class GateConfig(_Section):
    """When a prediction declines; travels in the bundle."""

    rule: Literal["floor", "conformal"] = Field(
        "floor",
        description="floor: by the two thresholds below; conformal: by sets that hold each class's "
        "marks with the coverage below, fitted on validation",
    )
    coverage: float = Field(
        0.9, ge=0.5, lt=1.0, description="share of each class that its conformal sets hold"
    )
    named_share: float = Field(
        1.0,
        gt=0.0,
        le=1.0,
        description="by the rule conformal: share of red and brown marks that may get a colour, "
        "the surest; the threshold is fitted on validation",
    )
    familiar_share: float = Field(
        0.98,
        gt=0.0,
        le=1.0,
        description="by the rule conformal: share of marks near enough to those learnt from to be "
        "judged; the distance is fitted on validation; 1: all, and no distance is kept",
    )
    separation_floor: float = Field(
        0.65, ge=0.5, lt=1.0, description="least P of the likelier of red and brown"
    )
    neither_threshold: float = Field(
        0.5,
        gt=0.0,
        le=1.0,
        description="P(neither) that declines even where it is not the likeliest",
    )


class QualityConfig(_Section):
    """When a picture is not judged; of ``quality.Quality``; travels in the bundle."""

    least_resolution: int = Field(32, ge=1, description="pixels of the shorter side judged")
    least_sharpness: Share = Field(0.3, description="1 minus the blur effect of Crete et al.")
    least_exposure: Share = Field(0.2, description="sRGB value that 5 % of the pixels reach")
    most_clipped: Share = Field(0.7, description="share of lit pixels with two channels clipped")
    least_skin: Share = Field(0.1, description="share of pixels whose colour can be skin's")


class RunConfig(_Section):
    """One run: everything ``diascope train`` needs besides the manifest."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = Field(0, ge=0, lt=2**31)
    init_from: Literal["photos", "rendered"] | None = Field(
        None, description="shipped bundle whose weights the fit starts from"
    )
    intended_use: str = Field("Research and education use only.", min_length=1)
    data_licence: str = Field(
        "Photographs of the trainer's own, under the trainer's terms.", min_length=1
    )
    data: DataConfig = DataConfig()
    preprocess: PreprocessConfig = PreprocessConfig()
    network: NetworkConfig = NetworkConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    gates: GateConfig = GateConfig()
    quality: QualityConfig = QualityConfig()

    @model_validator(mode="after")
    def _rendered_pictures_fit(self) -> "RunConfig":
        if self.data.rendered_share > 0 and self.data.rendered_count == 0:
            raise ValueError(
                "data.rendered_share is above 0 but data.rendered_count is 0; set both or neither"
            )
        if self.data.rendered_contrast[0] > self.data.rendered_contrast[1]:
            raise ValueError("data.rendered_contrast: give the lower number first")
        if self.data.rendered_share == 1.0 and self.data.rendered_validation == 0:
            raise ValueError(
                "data.rendered_share is 1 but data.rendered_validation is 0; "
                "nothing would be left to validate on"
            )
        return self


class SweepConfig(_Section):
    """The same drawn marks on skins of many tones: what ``diascope evaluate --sweep`` draws."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = Field(ge=0, lt=2**31)
    marks: int = Field(ge=2, description="marks of each colour per tone group and contrast")
    size: int = Field(128, ge=32, le=1024, description="side of a picture in pixels")
    ita_edges: list[Angle] = Field(
        min_length=3, description="edges of the tone groups in degrees, the lightest first"
    )
    contrasts: list[Annotated[list[Distance], Field(min_length=2, max_length=2)]] = Field(
        min_length=1, description="least and largest CIELAB distances of a mark from its skin"
    )

    @model_validator(mode="after")
    def _runs_down_and_up(self) -> "SweepConfig":
        if any(high <= low for high, low in pairwise(self.ita_edges)):
            raise ValueError("ita_edges: give them in falling order, the lightest skin first")
        if any(low >= high for low, high in self.contrasts):
            raise ValueError("contrasts: give the lower number of each first")
        return self


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a TOML file, apply ``key=value`` overrides (dotted keys, TOML values), validate.

    Raises:
        ConfigError: no such file, not TOML, a misspelt key, a wrong type or an impossible value.
    """
    settings = _read(Path(path))
    for override in overrides:
        _apply(settings, override)
    return parse_config(settings, str(path))


def load_sweep(path: Path | str) -> SweepConfig:
    """Read the TOML file of a sweep and validate it.

    Raises:
        ConfigError: as :func:`load_config`.
    """
    return _validated(SweepConfig, _read(Path(path)), str(path))


def parse_config(settings: dict[str, Any], name: str) -> RunConfig:
    """Validate settings already read; ``name`` stands in the error message."""
    return _validated(RunConfig, settings, name)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such config file; shipped ones are in configs/") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {error}") from error


def _validated(model: type[C], settings: dict[str, Any], name: str) -> C:
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(_explain(error, name, model)) from error


def _apply(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not all([*sections, last]):
        raise ConfigError(f"--set {override}: write it as key=value, such as train.epochs=5")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for section in sections:
        settings = settings.setdefault(section, {})
        if not isinstance(settings, dict):
            raise ConfigError(f"--set {override}: {section} is no section of the config")
    settings[last] = parsed


def _explain(error: ValidationError, name: str, model: type[BaseModel]) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"]) or "config"
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, first["loc"][:-1])
        near = get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        mend = f"did you mean {near[0]}?" if near else f"known keys here: {', '.join(known)}"
        problem = f"unknown key {key}; {mend}"
    elif first["type"] == "missing":
        problem = f"{key} is missing; add it"
    elif first["type"] == "model_type":
        problem = f"{key} = {first['input']!r}: this is a section; set keys in it"
    else:
        problem = f"{key} = {first['input']!r}: {first['msg']}"
        if first["type"] == "value_error":
            problem = first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    return f"{name}: {problem}" + (f"\n(and {more} more)" if more else "")


def _known_keys(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)
