"""Why a verdict: the class activation map and the pigment maps of one picture, and their sheet.

The network ends in global average pooling and one linear layer, so its logits are means of maps:
nothing is approximated. The pigment maps are plain colour measurement; no network is in them.
"""

import textwrap
import warnings
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from diascope.colour import HAEMOGLOBIN_ABSORPTION, MELANIN_ABSORPTION
from diascope.errors import MissingExtraError, OutputError
from diascope.files import check_free, write_whole
from diascope.labels import INTENDED_USE, LABEL_ORDER, MarkType, Verdict

Axes: TypeAlias = Any  # matplotlib's, which is no part of the base install
Figure: TypeAlias = Any
Map = npt.NDArray[np.float32]

FORMATS = (".png", ".pdf", ".svg")
"""What a sheet may be written as."""

IS_AND_IS_NOT = (
    "The two evidence maps show where in the picture the network found what speaks for each side; "
    "they are coarse, and show neither the border of a mark nor its cause. Melanin and haemoglobin "
    "are estimated from colour alone, against the skin taken as reference: shadows look like "
    "melanin, and hair, lips, cloth or coloured light like either."
)
"""Stands on every sheet."""

_RED, _BROWN, _NEITHER = (LABEL_ORDER.index(name) for name in MarkType)


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What a verdict on one picture rests on.

    Attributes:
        pixels: the upright picture as it was decoded, sRGB uint8 (H, W, 3); a JPEG may have been
            decoded smaller than it is.
        window: left, top, right, bottom of what the network saw, in those pixels, right and bottom
            exclusive: all of it, or the box with the skin around it. Every map covers the window.
        class_maps: float32 (3, h, w) in ``LABEL_ORDER``, in logits: the mean of each map plus its
            bias is the logit (Zhou et al., Learning Deep Features for Discriminative Localization,
            CVPR 2016).
        bias: float32 (3,).
        logits: float32 (3,), before the temperature.
        melanin, haemoglobin: float32 (S, S), by :func:`pigment_maps`; 0 is the reference skin.
        verdict, class_probabilities, reason_words: as in the prediction of the picture.
        model_name: name of the bundle and first digits of its digest.
    """

    pixels: npt.NDArray[np.uint8]
    window: tuple[int, int, int, int]
    class_maps: Map
    bias: Map
    logits: Map
    melanin: Map
    haemoglobin: Map
    verdict: Verdict
    class_probabilities: tuple[float, ...]
    reason_words: tuple[str, ...]
    model_name: str

    @property
    def red_against_brown(self) -> Map:
        """Evidence map, float32 (h, w): above 0 speaks for red, below for brown."""
        return np.asarray(self.class_maps[_RED] - self.class_maps[_BROWN])

    @property
    def likelier_colour(self) -> MarkType:
        """Red or brown, whichever has the higher logit."""
        return LABEL_ORDER[_BROWN if self.logits[_BROWN] > self.logits[_RED] else _RED]

    @property
    def mark_against_none(self) -> Map:
        """Evidence map, float32 (h, w): above 0 speaks for a mark of the likelier colour."""
        coloured = LABEL_ORDER.index(self.likelier_colour)
        return np.asarray(self.class_maps[coloured] - self.class_maps[_NEITHER])

    @property
    def seen(self) -> npt.NDArray[np.uint8]:
        """What the network saw: the pixels of the window, a view."""
        left, top, right, bottom = self.window
        return self.pixels[top:bottom, left:right]

    def over_window(self, values: Map) -> Map:
        """A map spread over the pixels of the window, bilinear; float32.

        The picture was scaled to the network's square, so each cell covers its share of either
        side of the window.
        """
        return _spread(values, *self.seen.shape[:2])

    def over_picture(self, values: Map) -> Map:
        """As :meth:`over_window`, in the whole picture: float32 (H, W), NaN outside the window."""
        left, top, right, bottom = self.window
        whole = np.full(self.pixels.shape[:2], np.nan, dtype=np.float32)
        whole[top:bottom, left:right] = self.over_window(values)
        return whole


def class_activation_maps(
    feature_map: npt.NDArray[np.floating], weights: npt.NDArray[np.floating]
) -> Map:
    """Maps float32 (K, h, w) of a feature map (C, h, w) and the last layer's weights (K, C).

    M_k(y, x) = sum over c of w_kc A_c(y, x): Zhou et al., CVPR 2016, equation 2.
    """
    maps = np.tensordot(weights.astype(np.float64), feature_map.astype(np.float64), axes=1)
    return np.asarray(maps, dtype=np.float32)


def pigment_maps(relative_density: npt.NDArray[np.floating]) -> tuple[Map, Map]:
    """Melanin and haemoglobin, float32 (H, W), of relative optical density (3, H, W).

    Density is taken as melanin x s_m + haemoglobin x s_h (Tsumura, Haneishi, Miyake, J Opt Soc Am A
    1999;16:2169) and solved for both by least squares, with fixed absorbances s in place of those
    that the paper finds by independent components of each picture. Shading is not taken out as in
    Tsumura et al., SIGGRAPH 2003: in three broad channels melanin and shade lie close together, so
    that taking out the one loses the other as soon as absorbances differ a little between persons
    (correlations with the truth of drawn skin: benchmarks/README.md). Shadows look like melanin.
    """
    channels = np.asarray(relative_density, dtype=np.float64)
    melanin, haemoglobin = np.tensordot(_UNMIXING, channels, axes=1).astype(np.float32)
    return melanin, haemoglobin


_UNMIXING = np.linalg.pinv(np.stack([MELANIN_ABSORPTION, HAEMOGLOBIN_ABSORPTION], axis=1))


# The sheet


def check_sheet(file: Path, overwrite: bool, picture: str | None = None) -> None:
    """Refuse a file that a sheet cannot or must not become.

    Raises:
        OutputError: another ending than those of ``FORMATS``, a file that exists unless
            ``overwrite``, or the picture itself.
        MissingExtraError: matplotlib is not installed.
    """
    if file.suffix.lower() not in FORMATS:
        raise OutputError(f"{file}: a sheet is written as {', '.join(FORMATS)}; name it so")
    if picture is not None and file.exists() and Path(picture).exists() and file.samefile(picture):
        raise OutputError(f"{file}: this is the picture; give the sheet another name")
    check_free(file, overwrite)
    _matplotlib_figure()


def write_sheet(
    explanation: Explanation, name: str, file: Path, *, overwrite: bool = False
) -> None:
    """Draw the maps of a picture called ``name`` on one sheet: PNG, PDF or SVG by the ending.

    Raises:
        OutputError, MissingExtraError: as :func:`check_sheet`, or it cannot be written.
    """
    check_sheet(file, overwrite)
    sheet = _draw(explanation, name)
    stream, kind = BytesIO(), file.suffix.lower()[1:]
    dated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with warnings.catch_warnings():
        # Names may hold letters that the font lacks.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        sheet.savefig(stream, format=kind, dpi=_DPI, metadata=dated.get(kind))
    write_whole(file, stream.getvalue())


_DPI = 130
_WIDTH, _BAR, _FOOT_HEIGHT = 13.0, 0.9, 0.7  # inches
_LOWEST_ROW, _HIGHEST_ROW = 1.9, 3.3
_MOST_SHOWN = 1200  # pixels of the longer side; the sheet shows fewer
_LEAST_SPAN = 1.0  # logits: a map all but flat is not stretched until it shouts
_LEAST_PIGMENT = 0.1
_MOST_PIGMENT = 0.6  # a strong mark has less; cloth and hair would take the whole scale
_FAINTEST, _STRONGEST = 0.25, 0.85  # of a colour over the picture: what is under it stays visible
_GREY_FROM = -200  # the picture under the evidence is shown in its lighter half
_COLUMN, _FOOT = 56, 190  # letters in a line
_EVIDENCE_COLOURS = "PuOr_r"  # diverging; told apart in every common colour blindness
_PIGMENT_COLOURS = "cividis"  # lightness alone carries it


def _matplotlib_figure() -> type[Figure]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 no part of the base install
    except ImportError as error:
        raise MissingExtraError(
            "a sheet needs matplotlib, which is not installed:\npip install 'diascope[train]'"
        ) from error
    return Figure


def _draw(explanation: Explanation, name: str) -> Figure:
    height, width = explanation.seen.shape[:2]
    row = min(max(_WIDTH / 3 * height / width, _LOWEST_ROW), _HIGHEST_ROW) + _BAR
    sheet = _matplotlib_figure()(figsize=(_WIDTH, 2 * row + _FOOT_HEIGHT), layout="constrained")
    grid = sheet.add_gridspec(3, 3, height_ratios=(row, row, _FOOT_HEIGHT))
    picture, colours, presence = (sheet.add_subplot(grid[0, column]) for column in range(3))
    told, melanin, haemoglobin = (sheet.add_subplot(grid[1, column]) for column in range(3))
    _show_picture(picture, explanation)
    _show_evidence(colours, explanation, explanation.red_against_brown, "brown", "red")
    colour = "red" if explanation.likelier_colour is MarkType.ERYTHEMATOUS else "brown"
    _show_evidence(presence, explanation, explanation.mark_against_none, "no mark", colour)
    limits = _pigment_limits(explanation)
    _show_pigment(melanin, explanation, explanation.melanin, "Melanin", limits)
    _show_pigment(haemoglobin, explanation, explanation.haemoglobin, "Haemoglobin", limits)
    _tell(told, explanation, name)
    words = "\n".join([*textwrap.wrap(IS_AND_IS_NOT, _FOOT), *textwrap.wrap(INTENDED_USE, _FOOT)])
    foot = sheet.add_subplot(grid[2, :])
    foot.set_axis_off()
    foot.text(0, 1, words, va="top", fontsize=9, in_layout=False)
    return sheet


def _show_picture(axes: Axes, explanation: Explanation) -> None:
    height, width = explanation.pixels.shape[:2]
    left, top, right, bottom = explanation.window
    # In shares of the picture: what is drawn has fewer pixels.
    axes.imshow(_thinned(explanation.pixels), extent=(0, width, height, 0))
    whole = (left, top, right, bottom) == (0, 0, width, height)
    if not whole:
        for colour, wide in (("black", 3.0), ("white", 1.2)):
            edges = ([left, right, right, left, left], [top, top, bottom, bottom, top])
            axes.plot(*edges, color=colour, linewidth=wide)
        axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_title("The picture" if whole else "The picture; framed: what the network saw")
    axes.set_axis_off()


def _show_evidence(
    axes: Axes, explanation: Explanation, values: Map, below: str, above: str
) -> None:
    seen = _thinned(explanation.seen)
    spread = _spread(values, *seen.shape[:2])
    most = max(float(np.abs(values).max()), _LEAST_SPAN)
    grey = cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)
    axes.imshow(grey, cmap="gray", vmin=_GREY_FROM, vmax=255)
    strength = _FAINTEST + (_STRONGEST - _FAINTEST) * np.minimum(np.abs(spread) / most, 1.0)
    axes.imshow(spread, cmap=_EVIDENCE_COLOURS, vmin=-most, vmax=most, alpha=strength)
    axes.set_title(f"Evidence: {above} against {below}")
    axes.set_axis_off()
    _colour_bar(
        axes, (-most, most), _EVIDENCE_COLOURS, f"speaks for {below}     |     speaks for {above}"
    )


def _show_pigment(
    axes: Axes, explanation: Explanation, values: Map, title: str, limits: tuple[float, float]
) -> None:
    height, width = _thinned(explanation.seen).shape[:2]
    low, high = limits
    axes.imshow(_spread(values, height, width), cmap=_PIGMENT_COLOURS, vmin=low, vmax=high)
    axes.set_title(f"{title}, estimated from colour")
    axes.set_axis_off()
    _colour_bar(axes, limits, _PIGMENT_COLOURS, "less     than the reference skin (0)     more")


def _colour_bar(axes: Axes, limits: tuple[float, float], colours: str, label: str) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415 no part of the base install
    from matplotlib.colors import Normalize  # noqa: PLC0415

    scale = ScalarMappable(Normalize(*limits), colours)
    bar = axes.figure.colorbar(
        scale, ax=axes, orientation="horizontal", fraction=0.05, extend="both"
    )
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)


def _pigment_limits(explanation: Explanation) -> tuple[float, float]:
    """One scale for both pigments, so that they may be compared; the extremes are cut off."""
    both = np.stack([explanation.melanin, explanation.haemoglobin])
    low, high = np.percentile(both, (1, 99))
    return (
        -float(np.clip(-low, _LEAST_PIGMENT, _MOST_PIGMENT)),
        float(np.clip(high, _LEAST_PIGMENT, _MOST_PIGMENT)),
    )


def _tell(axes: Axes, explanation: Explanation, name: str) -> None:
    """Verdict, probabilities as bars, reasons, picture and model."""
    names = [label.value for label in LABEL_ORDER]
    places = [0.58, 0.49, 0.40]
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_axis_off()
    head = [explanation.verdict.value.replace("_", " "), explanation.verdict.words]
    write = partial(axes.text, in_layout=False, parse_math=False)
    write(0, 0.97, head[0], fontsize=15, weight="bold", va="top")
    write(0, 0.85, _wrapped(head[1]), fontsize=11, va="top")
    write(0, 0.68, "Probability, calibrated", fontsize=9, va="top")
    for place, label, share in zip(places, names, explanation.class_probabilities, strict=True):
        axes.barh(place, 0.45, height=0.06, left=0.36, color="0.92")
        axes.barh(place, 0.45 * share, height=0.06, left=0.36, color="0.35")
        write(0, place, label, fontsize=10, va="center")
        write(0.84, place, f"{share:.3f}", fontsize=10, va="center")
    lines = [*explanation.reason_words, f"Picture: {name}", f"Model: {explanation.model_name}"]
    told = "\n".join(_wrapped(line) for line in lines)
    write(0, 0.32, told, fontsize=9, va="top")


def _wrapped(line: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return "\n".join(textwrap.wrap(shown, _COLUMN))


def _thinned(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The pixels in a size fit for a sheet."""
    height, width = pixels.shape[:2]
    share = min(1.0, _MOST_SHOWN / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _spread(values: Map, height: int, width: int) -> Map:
    spread = cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(spread, dtype=np.float32)
