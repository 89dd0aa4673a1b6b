"""The one path from a picture to a prediction: API, command line and batch all go through here.

picture -> preprocess -> network -> temperature -> quality and calibration gates -> glass test ->
guidance. Quality may veto a verdict, never change it for another; guidance never sees pixels.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Protocol, Self, cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from diascope.bundle import ONNX, WEIGHTS, Bundle, load_bundle, resolve_bundle
from diascope.calibration import GateReason, decide, separation, softmax
from diascope.errors import BundleError, DeviceError, ImageError, MissingExtraError
from diascope.explain import Explanation, class_activation_maps, pigment_maps
from diascope.guidance import (
    Claim,
    Context,
    GlassNote,
    GlassTest,
    GuidancePack,
    combine,
    load_pack,
    read_contexts,
)
from diascope.image import Limits, Picture, PictureSource, source_name
from diascope.labels import INTENDED_USE, LABEL_ORDER, MarkType, Verdict
from diascope.machine import available_cores
from diascope.preprocess import Box, Prepared, prepare, read_for, resolution, window
from diascope.progress import Stages
from diascope.quality import DeclineReason, Quality, decline_reasons, measure

Tensor = npt.NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]
Runtime = Literal["onnx", "torch"]
Reason = DeclineReason | GateReason | GlassNote
"""Why a prediction declines: the picture's quality, the probabilities, or the glass test."""

CHUNK = 64
"""Pictures held at once by ``Predictor.predict_batch``."""

_OUTPUTS = _LOGITS, _FEATURES, _FEATURE_MAP = "logits", "features", "feature_map"
_Asked = tuple[Verdict, tuple[Context, ...], GlassNote]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What diascope says of one picture; it holds no pixels.

    Attributes:
        verdict: after the gates and the glass test.
        image_verdict: what the picture alone says, after the gates.
        class_probabilities: calibrated, in ``LABEL_ORDER``, summing to 1.
        separation: calibrated P(hyperpigmented | erythematous or hyperpigmented), in [0, 1].
        reasons: codes why ``verdict`` declines; empty where it names a colour.
        ita_degrees: typology angle of the skin around the mark; an estimate, as the camera's
            light is unknown.
        quality: measures of the picture, or of the box with the skin around it.
        glass_test: how the glass-test answer stood to the picture, in words.
        guidance: claims with their sources, red flags first.
        notes: what had to be assumed to read the picture.
        width, height: of the upright original, in pixels.
        blanches: the answer of the glass test that was given.
        contexts: what was said of the person.
        model_name, model_digest: the bundle; the digest is the SHA-256 of its ``bundle.json``.
        guidance_version: of the guidance pack.
    """

    verdict: Verdict
    image_verdict: Verdict
    class_probabilities: tuple[float, ...]
    separation: float
    reasons: tuple[Reason, ...]
    ita_degrees: float
    quality: Quality
    glass_test: GlassTest
    guidance: tuple[Claim, ...]
    notes: tuple[str, ...]
    width: int
    height: int
    blanches: bool | None
    contexts: tuple[Context, ...]
    model_name: str
    model_digest: str
    guidance_version: str

    @property
    def probabilities(self) -> dict[MarkType, float]:
        """Calibrated probability of each mark type; they sum to 1."""
        return dict(zip(LABEL_ORDER, self.class_probabilities, strict=True))

    @property
    def reason_words(self) -> tuple[str, ...]:
        """``reasons`` as sentences, in the same order."""
        return tuple(
            self.glass_test.words if isinstance(reason, GlassNote) else reason.words
            for reason in self.reasons
        )

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain JSON types, with the intended use."""
        reasons = zip(self.reasons, self.reason_words, strict=True)
        return {
            "verdict": self.verdict.value,
            "image_verdict": self.image_verdict.value,
            "probabilities": {name.value: p for name, p in self.probabilities.items()},
            "separation": self.separation,
            "reasons": [{"code": code.value, "words": words} for code, words in reasons],
            "ita_degrees": self.ita_degrees,
            "estimates": ["ita_degrees"],
            "quality": asdict(self.quality),
            "blanches": self.blanches,
            "contexts": [context.value for context in self.contexts],
            "glass_test": {"code": self.glass_test.note.value, "words": self.glass_test.words},
            "guidance": [claim.model_dump(mode="json") for claim in self.guidance],
            "width": self.width,
            "height": self.height,
            "notes": [str(note) for note in self.notes],
            "model": {"name": self.model_name, "digest": self.model_digest},
            "guidance_version": self.guidance_version,
            "intended_use": INTENDED_USE,
        }


class Predictor:
    """A loaded bundle with a guidance pack: pictures in, predictions out.

    May be shared between threads and pickled to other processes.
    """

    def __init__(
        self,
        bundle: Bundle,
        pack: GuidancePack,
        device: Device = "cpu",
        runtime: Runtime = "onnx",
        threads: int | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.bundle = bundle
        self.pack = pack
        self.device, self.runtime = _choose(device, runtime)
        self.threads = threads
        self.limits = limits
        self._claims: dict[_Asked, tuple[Claim, ...]] = {}
        self._network = _network(bundle, self.device, self.runtime, threads)
        self._space = bundle.feature_space()

    @classmethod
    def load(
        cls,
        bundle: str | os.PathLike[str] | None = None,
        *,
        device: Device = "cpu",
        runtime: Runtime = "onnx",
        guidance: Path | None = None,
        threads: int | None = None,
        limits: Limits | None = None,
    ) -> Self:
        """Load a shipped bundle by name (None: the default one) or a bundle's folder.

        Args:
            bundle: ``photos``, ``rendered`` or a folder.
            device: ``cpu``, ``cuda`` (runs torch), or ``auto``: cuda where there is one.
            runtime: ``onnx`` or ``torch``; the two agree within 1e-4.
            guidance: folder of another guidance pack; None: the shipped one.
            threads: of the network on the processor; None: all cores.
            limits: bounds of a file, checked before it is decoded; None: ``image.Limits()``.

        Raises:
            BundleError: the bundle is not whole, or not one this diascope can run.
            GuidanceError: the guidance pack breaks its rules.
            DeviceError: no such device here.
            MissingExtraError: torch is asked for and not installed.
        """
        verified = load_bundle(resolve_bundle(bundle))
        return cls(verified, load_pack(guidance), device, runtime, threads, limits)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep what rebuilds it: sessions do not cross processes."""
        rebuilt = (self.bundle, self.pack, self.device, self.runtime, self.threads, self.limits)
        return type(self), rebuilt

    @property
    def name(self) -> str:
        """The bundle's name and the first 12 digits of its digest."""
        return f"{self.bundle.description.name}@{self.bundle.digest[:12]}"

    def predict(
        self,
        image: PictureSource,
        *,
        box: Box | None = None,
        blanches: bool | None = None,
        contexts: Sequence[Context | str] = (),
    ) -> Prediction:
        """Judge one picture.

        Args:
            image: path, bytes of a file, open binary file, Pillow image, or uint8 (H, W, 3) sRGB.
            box: left, top, right, bottom of the mark in pixels of the upright picture; the skin
                around it is then the reference.
            blanches: answer of the glass test, if it was done.
            contexts: what is known of the person, such as ``pregnancy``.

        Raises:
            ImageError: the picture cannot be read.
            GuidanceError: an unknown context, or an answer that is none.
            ValueError: a box that is not four finite numbers.
        """
        given = self.predict_batch([image], boxes=[box], blanches=[blanches], contexts=[contexts])
        return cast(Prediction, given[0])

    def predict_batch(
        self,
        images: Sequence[PictureSource],
        *,
        boxes: Sequence[Box | None] | None = None,
        blanches: Sequence[bool | None] | None = None,
        contexts: Sequence[Sequence[Context | str]] | None = None,
        on_error: Literal["raise", "return"] = "raise",
        stages: Stages | None = None,
    ) -> list[Prediction | ImageError]:
        """Judge pictures: one answer each, in their order; as :meth:`predict` for each.

        ``boxes``, ``blanches`` and ``contexts`` have one entry per picture. With
        ``on_error="return"`` a picture that cannot be read has its ImageError at its place.
        ``stages`` counts the seconds of reading, network and guidance.
        """
        if on_error not in ("raise", "return"):
            raise ValueError(f'on_error = {on_error!r}; give "raise" or "return"')
        requests = _requests(images, boxes, blanches, contexts)
        answers: list[Prediction | ImageError] = []
        spent = Stages() if stages is None else stages
        for start in range(0, len(requests), CHUNK):
            chunk = requests[start : start + CHUNK]
            answers += self._predict_chunk(chunk, on_error == "raise", spent)
        return answers

    def explain(self, image: PictureSource, *, box: Box | None = None) -> Explanation:
        """Maps of what a verdict rests on; arguments and errors as in :meth:`predict`.

        The verdict is that of the pixels alone, ``image_verdict`` of the prediction.

        Raises:
            BundleError: the bundle's ``model.onnx`` gives no feature map, or its weights are not
                those of that network.
        """
        request = _Request(image, _checked_box(box), None, ())
        picture, prepared = self._prepare(request)
        tensors = prepared.tensor[None]
        logits, feature_map = self._network(tensors, (_LOGITS, _FEATURE_MAP))
        weights, bias = self._last_layer(feature_map.shape[1])
        probabilities, distance = next(self._judge(tensors))
        verdict, reasons = self._gate(
            self._seen(request, picture, prepared), probabilities, distance
        )
        height, width = picture.pixels.shape[:2]
        whole = (0, 0, width, height)
        melanin, haemoglobin = pigment_maps(prepared.tensor)
        return Explanation(
            pixels=picture.pixels,
            window=whole if request.box is None else window(picture, request.box)[0],
            class_maps=class_activation_maps(feature_map[0], weights),
            bias=bias,
            logits=np.asarray(logits[0], dtype=np.float32),
            melanin=melanin,
            haemoglobin=haemoglobin,
            verdict=verdict,
            class_probabilities=tuple(probabilities.tolist()),
            reason_words=tuple(reason.words for reason in reasons),
            model_name=self.name,
        )

    def _last_layer(self, channels: int) -> tuple[Tensor, Tensor]:
        """Weights (3, C) and bias (3,) of the linear layer behind the pooling."""
        arrays = self.bundle.weights()
        weights, bias = (arrays.get(f"head.{part}") for part in ("weight", "bias"))
        classes = len(LABEL_ORDER)
        if weights is None or bias is None or weights.shape != (classes, channels):
            raise BundleError(
                f"{self.bundle.folder / WEIGHTS}: not the weights of this bundle's network; "
                "train again"
            )
        return weights.astype(np.float32), bias.astype(np.float32)

    def probabilities(self, tensors: Tensor) -> npt.NDArray[np.float64]:
        """Calibrated probabilities (N, 3) of prepared pictures, float32 (N, 3, S, S).

        Raises:
            BundleError: the network gives numbers that are not finite.
        """
        return self._calibrated(self._network(tensors, (_LOGITS,))[0])

    def features(self, tensors: Tensor) -> npt.NDArray[np.floating]:
        """Pooled features (N, C), what the last layer sees, of prepared pictures as above.

        Raises:
            BundleError: the bundle's ``model.onnx`` gives no features.
        """
        return self._network(tensors, (_FEATURES,))[0]

    def _calibrated(self, logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        if not np.isfinite(logits).all():
            raise BundleError(
                f"{self.bundle.folder}: the network gives numbers that are not finite; train again"
            )
        return softmax(logits, self.bundle.description.temperature)

    def _predict_chunk(
        self, requests: Sequence["_Request"], raises: bool, stages: Stages
    ) -> list[Prediction | ImageError]:
        with stages.spending("reading"):
            read = [self._read(request, raises) for request in requests]
        seen = [picture for picture in read if isinstance(picture, _Seen)]
        with stages.spending("network"):
            rows = self._judge(np.stack([each.tensor for each in seen])) if seen else iter(())
        with stages.spending("guidance"):
            return [
                picture
                if isinstance(picture, ImageError)
                else self._conclude(request, picture, *next(rows))
                for request, picture in zip(requests, read, strict=True)
            ]

    def _judge(self, tensors: Tensor) -> Iterator[tuple[npt.NDArray[np.float64], float | None]]:
        """Calibrated probabilities (3,) of each, and its distance where the gates bound it."""
        if self._space is None:
            return zip(self.probabilities(tensors), repeat(None))
        logits, features = self._network(tensors, (_LOGITS, _FEATURES))
        return zip(self._calibrated(logits), self._space.distances(features).tolist(), strict=True)

    def _read(self, request: "_Request", raises: bool) -> "_Seen | ImageError":
        try:
            return self._see(request)
        except ImageError as error:
            if raises:
                raise
            # A new one: the traceback of the caught one would keep the picture in memory.
            return ImageError(error.reason, error.name, error.detail)

    def _see(self, request: "_Request") -> "_Seen":
        return self._seen(request, *self._prepare(request))

    def _prepare(self, request: "_Request") -> tuple[Picture, Prepared]:
        size = self.bundle.description.preprocessing.size
        picture = read_for(request.image, request.box, size, limits=self.limits)
        try:
            return picture, prepare(picture, request.box, size)
        except ImageError as error:
            name = source_name(request.image)
            raise ImageError(error.reason, name, f"{error.name} {error.detail}") from error

    def _seen(self, request: "_Request", picture: Picture, prepared: Prepared) -> "_Seen":
        shown = resolution(picture.width, picture.height, request.box)
        quality = measure(prepared.pixels, shown, prepared.can_be_skin)
        return _Seen(
            prepared.tensor,
            prepared.ita_degrees,
            quality,
            decline_reasons(quality, picture.has_colour, self.bundle.description.quality),
            picture.width,
            picture.height,
            picture.notes,
        )

    def _conclude(
        self,
        request: "_Request",
        seen: "_Seen",
        probabilities: npt.NDArray[np.float64],
        distance: float | None,
    ) -> Prediction:
        image_verdict, image_reasons = self._gate(seen, probabilities, distance)
        glass = combine(image_verdict, request.blanches)
        reasons: tuple[Reason, ...] = image_reasons
        if glass.note.contradicts:
            reasons = (glass.note,)
        return Prediction(
            verdict=glass.verdict,
            image_verdict=image_verdict,
            class_probabilities=tuple(probabilities.tolist()),
            separation=float(separation(probabilities)),
            reasons=reasons if glass.verdict.declines else (),
            ita_degrees=seen.ita_degrees,
            quality=seen.quality,
            glass_test=glass,
            guidance=self._claims_for(glass.verdict, request.contexts, glass.note),
            notes=seen.notes,
            width=seen.width,
            height=seen.height,
            blanches=request.blanches,
            contexts=request.contexts,
            model_name=self.bundle.description.name,
            model_digest=self.bundle.digest,
            guidance_version=self.pack.version,
        )

    def _claims_for(
        self, verdict: Verdict, contexts: tuple[Context, ...], note: GlassNote
    ) -> tuple[Claim, ...]:
        # Looked up once for each that occurs: few do, and every picture asks.
        asked = (verdict, contexts, note)
        if asked not in self._claims:
            self._claims[asked] = self.pack.claims_for(verdict, contexts, glass=note)
        return self._claims[asked]

    def _gate(
        self, seen: "_Seen", probabilities: npt.NDArray[np.float64], distance: float | None
    ) -> tuple[Verdict, tuple[DeclineReason | GateReason, ...]]:
        if seen.vetoes:
            return Verdict.NOT_ASSESSABLE, seen.vetoes
        description = self.bundle.description
        return decide(probabilities, description.gates, description.conformal, distance)


@dataclass(frozen=True, slots=True)
class _Request:
    """One picture and what came with it."""

    image: PictureSource
    box: Box | None
    blanches: bool | None
    contexts: tuple[Context, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a picture that was read."""

    tensor: Tensor
    ita_degrees: float
    quality: Quality
    vetoes: tuple[DeclineReason, ...]
    width: int
    height: int
    notes: tuple[str, ...]


def _requests(
    images: Sequence[PictureSource],
    boxes: Sequence[Box | None] | None,
    blanches: Sequence[bool | None] | None,
    contexts: Sequence[Sequence[Context | str]] | None,
) -> list[_Request]:
    if isinstance(images, str | bytes | os.PathLike):
        raise TypeError("predict_batch takes several pictures; use predict for one")
    count = len(images)
    named = {"boxes": boxes, "blanches": blanches, "contexts": contexts}
    for name, values in named.items():
        if values is not None and len(values) != count:
            raise ValueError(f"{count} pictures, but {len(values)} {name}; give one per picture")
    return [
        _Request(image, _checked_box(box), answer, read_contexts(words))
        for image, box, answer, words in zip(
            images,
            [None] * count if boxes is None else boxes,
            [None] * count if blanches is None else blanches,
            [()] * count if contexts is None else contexts,
            strict=True,
        )
    ]


def _checked_box(box: Box | None) -> Box | None:
    if box is None:
        return None
    if len(box) != 4 or not all(isfinite(edge) for edge in box):
        raise ValueError(f"box {box!r}: give left, top, right, bottom as four finite numbers")
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom


Outputs = npt.NDArray[np.floating]


class _Network(Protocol):
    def __call__(self, tensors: Tensor, names: Sequence[str]) -> list[Outputs]:
        """Named outputs of relative optical density (N, 3, S, S), each (N, ...)."""
        ...


def _choose(device: str, runtime: str) -> tuple[Device, Runtime]:
    """Settle device and runtime: cuda goes with torch, ``auto`` with what is there."""
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device {device}: unknown; give auto, cpu or cuda")
    if runtime not in ("onnx", "torch"):
        raise DeviceError(f"runtime {runtime}: unknown; give onnx or torch")
    if device == "cuda" and not _torch().cuda.is_available():
        raise DeviceError("device cuda: there is none on this machine; use cpu or auto")
    if device == "cuda" or (device == "auto" and _offers_cuda()):
        return "cuda", "torch"
    return "cpu", cast(Runtime, runtime)


def _network(bundle: Bundle, device: str, runtime: str, threads: int | None) -> _Network:
    if runtime == "onnx":
        return _OnnxNetwork(bundle, threads)
    return _TorchNetwork(bundle, device, threads)


class _OnnxNetwork:
    """The bundle's ``model.onnx`` in ONNX Runtime, on the processor."""

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        # Threads that spin between batches would take the cores that decode pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                bundle.onnx_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise BundleError(
                f"{bundle.folder / ONNX}: ONNX Runtime cannot run it: {str(error).splitlines()[0]}"
            ) from error
        self._input = _onnx_input(self._session, bundle)
        self._file = bundle.folder / ONNX

    def __call__(self, tensors: Tensor, names: Sequence[str]) -> list[Outputs]:
        missing = set(names) - {given.name for given in self._session.get_outputs()}
        if missing:
            raise BundleError(f"{self._file}: gives no {', '.join(missing)}; train again")
        return cast(list[Outputs], self._session.run(list(names), {self._input: tensors}))


def _onnx_input(session: onnxruntime.InferenceSession, bundle: Bundle) -> str:
    """Name of the one input; refuses a model whose input or output is not the description's."""
    size = bundle.description.preprocessing.size
    shapes = {given.name: given.shape[1:] for given in session.get_inputs()}
    outputs = {given.name: given.shape[1:] for given in session.get_outputs()}
    if list(shapes.values()) != [[3, size, size]] or outputs.get(_LOGITS) != [len(LABEL_ORDER)]:
        raise BundleError(
            f"{bundle.folder / ONNX}: not the network of this bundle (input {shapes}, "
            f"outputs {outputs}); train again"
        )
    return str(next(iter(shapes)))


class _TorchNetwork:
    """The bundle's weights in a torch network."""

    def __init__(self, bundle: Bundle, device: str, threads: int | None) -> None:
        self._torch = torch = _torch()
        # Imported here: training's packages, and seconds of start-up.
        from diascope.network import evaluation_network  # noqa: PLC0415

        if threads is not None:
            torch.set_num_threads(threads)
        weights = {name: torch.tensor(values) for name, values in bundle.weights().items()}
        try:
            network = evaluation_network(bundle.description.network, weights)
        except RuntimeError as error:
            raise BundleError(
                f"{bundle.folder / WEIGHTS}: not the weights of this bundle's network; train again"
            ) from error
        self._device = device
        self._module = network.to(device)

    def __call__(self, tensors: Tensor, names: Sequence[str]) -> list[Outputs]:
        torch = self._torch
        channels_last = torch.from_numpy(tensors).to(
            self._device, memory_format=torch.channels_last
        )
        # TF32 would part from ONNX Runtime by more than 1e-4.
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found = dict(zip(_OUTPUTS, self._module.features(channels_last), strict=True))
            return [found[name].cpu().numpy() for name in names]


def _torch() -> Any:
    try:
        import torch  # noqa: PLC0415 seconds of start-up, and no part of the base install
        import torchvision  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError(
            "runtime torch and device cuda need packages that are not installed:\n"
            "pip install 'diascope[train]'"
        ) from error
    return torch


def _offers_cuda() -> bool:
    try:
        return bool(_torch().cuda.is_available())
    except MissingExtraError:
        return False
