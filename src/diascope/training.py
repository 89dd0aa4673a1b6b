"""fit -> calibrate -> save: from rows and a config to a bundle."""

import csv
import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Drawing
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter

from diascope import bundle as bundles
from diascope.augment import Augmentation
from diascope.calibration import (
    ConformalGate,
    filled,
    fit_conformal,
    fit_temperature,
    separation,
    softmax,
)
from diascope.config import RunConfig
from diascope.dataset import (
    ManifestRow,
    Sample,
    balanced_weights,
    load_samples,
    rendered_sample,
    split_rows,
    trainable,
)
from diascope.errors import ConfigError, DeviceError, OutputError, SplitError, TrainingError
from diascope.export import to_onnx
from diascope.familiarity import FeatureSpace, fit_feature_space
from diascope.files import write_whole
from diascope.labels import LABEL_ORDER, MarkType
from diascope.machine import available_cores
from diascope.metrics import auroc, bootstrap_interval
from diascope.network import MarkNetwork, TaughtNetwork, evaluation_network, parameter_count
from diascope.preprocess import prepare_pixels
from diascope.progress import Track, silent
from diascope.renderer import COVER_SIDE, render_labelled

log = logging.getLogger(__name__)

BUNDLE_FOLDER = "bundle"
CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.csv"
CURVE = "curve.png"
EVENTS = "tensorboard"

_VALIDATION_SEED = 1  # added to the run's seed: rendered validation pictures are never trained on
_EVALUATION_BATCH = 128
_MOST_LEARNT = 2000  # training pictures that say where they lie; more change little


@dataclass(frozen=True)
class FitResult:
    """What a fit left behind."""

    bundle_folder: Path
    epochs: int
    best_epoch: int
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class TrainingData:
    """Samples of one run; ``digest`` covers the photographs: pixels, targets, sources, groups."""

    training: list[Sample]
    validation: list[Sample]
    digest: str | None


def fit(
    config: RunConfig,
    rows: Sequence[ManifestRow],
    out: Path,
    *,
    resume: bool = False,
    init_from: Path | None = None,
    overwrite: bool = False,
    command: str = "diascope.training.fit",
    track: Track = silent,
) -> FitResult:
    """Train on rows of photographs, rendered marks, or both, and save a bundle in ``out``.

    Args:
        config: every setting of the run.
        rows: photographs, their groups already joined (``dataset.joined_rows``); rows marked
            ``other`` are left out. Empty for rendered marks alone.
        out: folder for the bundle, the checkpoint, ``metrics.csv``, a curve, TensorBoard events.
        resume: go on from the checkpoint in ``out``; the final weights are those of a run that
            was never cut off, bit for bit on CPU with the same number of threads.
        init_from: a bundle to start from; its network is taken over, and its input size where the
            config sets none. None: as ``config.init_from`` says.
        overwrite: replace an earlier run in ``out``.
        command: stands in the bundle.
        track: shows progress.

    Drawing starts worker processes: a script that calls this needs the usual
    ``if __name__ == "__main__"`` guard.

    Raises:
        ManifestError: pictures that cannot be read.
        ConfigError: settings that do not fit the rows, or a resumed run that was changed.
        SplitError: one class only, or too few groups.
        BundleError: the bundle to start from is not there or not whole.
        DeviceError: a device that is not there.
        TrainingError: a loss that is not finite.
        OutputError: ``out`` holds a run already, or none to resume.
    """
    start = _start(config, init_from)
    if start is not None:
        config = _shaped_like(config, start.description)
    rows = trainable(rows)
    _check_start(config, start)
    _check_shares(config, rows)
    _check_words(config, rows)
    check_output(out, resume=resume, overwrite=overwrite)
    fabric = _fabric(config)
    data = load_data(config, rows, track=track)
    run = _Run(config, data, fabric, out, start)
    if resume:
        run.restore()
    else:
        _clear(out)
    try:
        run.train(track)
    finally:
        run.close()
    folder = run.save(command) if fabric.is_global_zero else out / BUNDLE_FOLDER
    _part(fabric)
    return FitResult(folder, len(run.history), run.best.epoch, tuple(run.history))


def load_data(
    config: RunConfig, rows: Sequence[ManifestRow], *, track: Track = silent
) -> TrainingData:
    """Split the rows (``dataset.split_rows``), read the photographs, draw the rendered marks."""
    training: list[Sample] = []
    validation: list[Sample] = []
    if rows:
        kept, held_out = split_rows(rows, config.data, config.seed)
        training = load_samples(kept, config.preprocess.size, track=track)
        validation = load_samples(held_out, config.preprocess.size, track=track)
    digest = _digest([*training, *validation]) if rows else None
    if config.data.rendered_share > 0:
        training += _drawn(config, config.data.rendered_count, config.seed, track)
        seed = config.seed + _VALIDATION_SEED
        validation += _drawn(config, config.data.rendered_validation, seed, track)
    return TrainingData(training, validation, digest)


def _drawn(config: RunConfig, count: int, seed: int, track: Track) -> list[Sample]:
    low, high = config.data.rendered_contrast
    drawn = render_labelled(
        count,
        seed,
        config.preprocess.size,
        workers=available_cores(),
        contrast=(low, high),
    )
    return [
        rendered_sample(pixels, mark_type, index, cover)
        for index, (pixels, mark_type, cover) in enumerate(track(drawn, "drawing marks", count))
    ]


def _digest(samples: Sequence[Sample]) -> str:
    whole = hashlib.sha256()
    for sample in samples:
        told = (sample.pixels.shape, sample.inner, sample.target, sample.source, sample.group_id)
        whole.update(repr(told).encode())
        whole.update(sample.pixels.tobytes())
    return whole.hexdigest()


def _start(config: RunConfig, init_from: Path | None) -> bundles.Bundle | None:
    if init_from is None and config.init_from is not None:
        init_from = bundles.resolve_bundle(config.init_from)
    return None if init_from is None else bundles.load_bundle(init_from)


def _check_start(config: RunConfig, start: bundles.Bundle | None) -> None:
    if start is None and config.train.start_share > 0:
        raise ConfigError(
            f"train.start_share = {config.train.start_share}: this run starts from nothing; "
            "name a bundle with --init-from, or leave it out"
        )


def _shaped_like(config: RunConfig, start: bundles.BundleDescription) -> RunConfig:
    """The config with the network of the bundle it starts from, and its input size if none is set.

    Convolutions take an input of any size: one larger than it learnt from first is no other network
    (Touvron et al., Fixing the train-test resolution discrepancy, NeurIPS 2019).

    Raises:
        ConfigError: it asks for another network.
    """
    if "network" in config.model_fields_set and config.network != start.network:
        raise ConfigError(
            f"network: not that of {start.name}, which this run starts from; leave it out, or "
            "start from nothing"
        )
    if "preprocess" in config.model_fields_set:
        return config.model_copy(update={"network": start.network})
    size = config.preprocess.model_copy(update={"size": start.preprocessing.size})
    return config.model_copy(update={"network": start.network, "preprocess": size})


def _check_words(config: RunConfig, rows: Sequence[ManifestRow]) -> None:
    """Refuse a bundle that would say that no photograph was used when some were."""
    denied = [
        key
        for key in ("intended_use", "data_licence")
        if rows and "no photograph was used" in getattr(config, key).lower()
    ]
    if denied:
        raise ConfigError(
            f"{' and '.join(denied)}: this config says that no photograph was used, and there is "
            "a manifest; use configs/own.toml, or say whose photographs these are"
        )


def _check_shares(config: RunConfig, rows: Sequence[ManifestRow]) -> None:
    share = config.data.rendered_share
    if not rows and share < 1.0:
        raise ConfigError(
            f"data.rendered_share = {share}: this run wants photographs; "
            "give a manifest with --data, or set data.rendered_share=1.0"
        )
    if rows and share == 1.0:
        raise ConfigError(
            "data.rendered_share = 1.0 leaves no room for the manifest's photographs; "
            "set it below 1, such as --set data.rendered_share=0.5"
        )


def check_output(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to mix a run into another, or to resume what is not there.

    Raises:
        OutputError: ``out`` is a file, holds a run already, or none to resume.
    """
    if resume:
        if not (out / CHECKPOINT).is_file():
            raise OutputError(f"{out}: no checkpoint to resume; start without --resume")
        return
    ours = [out / name for name in (CHECKPOINT, BUNDLE_FOLDER) if (out / name).exists()]
    if ours and not overwrite:
        raise OutputError(
            f"{out}: holds a run already; --overwrite replaces it, --resume goes on with it"
        )
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder")


def _clear(out: Path) -> None:
    """Take away what an earlier run would mix into this one; its bundle stays until the end."""
    (out / CHECKPOINT).unlink(missing_ok=True)
    for events in (out / EVENTS).glob("events.*"):
        events.unlink(missing_ok=True)


def _fabric(config: RunConfig) -> Fabric:
    train = config.train
    if train.device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device cuda: no CUDA GPU here; use --device cpu or auto")
    if train.precision == "16-mixed" and (train.device == "cpu" or not torch.cuda.is_available()):
        raise DeviceError("train.precision 16-mixed needs a CUDA GPU; use 32-true or bf16-mixed")
    if train.threads is not None:
        torch.set_num_threads(train.threads)
    try:
        fabric = Fabric(
            accelerator=train.device,
            devices=train.devices,
            precision=train.precision,
        )
    except (MisconfigurationException, ValueError) as error:
        raise DeviceError(f"device {train.device} x {train.devices}: {error}") from error
    fabric.launch()  # starts the other ranks, each with the command of this one
    return fabric


def _part(fabric: Fabric) -> None:
    """Let the ranks end together: one that ends while another saves may take it down with it."""
    if fabric.world_size > 1:
        fabric.barrier()
        torch.distributed.destroy_process_group()


class _Prepared(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Training pictures, changed anew every time; a key decides all chance in one."""

    def __init__(self, config: RunConfig, samples: Sequence[Sample]) -> None:
        self._samples = samples
        self._size = config.preprocess.size
        self._augmentation = Augmentation(config.augment)

    def __getitem__(self, key: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Input, target and cover of a (seed, epoch, position, sample) key."""
        sample = self._samples[key[-1]]
        pixels, inner, cover = sample.pixels, sample.inner, _UNKNOWN
        if sample.cover is not None:
            pixels, turned = self._augmentation.drawn(pixels, sample.cover, key[:-1])
            cover = torch.from_numpy(turned / np.float32(255.0))
        else:
            pixels, inner = self._augmentation.photograph(pixels, inner, key[:-1])
        prepared = prepare_pixels(pixels, inner, self._size)
        return torch.from_numpy(prepared.tensor), torch.tensor(sample.target), cover


_UNKNOWN = torch.full((COVER_SIDE, COVER_SIDE), torch.nan)


def place_loss(maps: Sequence[Tensor], targets: Tensor, cover: Tensor) -> Tensor:
    """Mean cross-entropy of where marks lie, over pictures whose cover is known; 0 where none is.

    Args:
        maps: logits (N, 3, h, w) of cells, of one or more sizes.
        targets: (N, 3), of whole pictures.
        cover: (N, C, C) in [0, 1], the part of each cell that the mark takes; NaN: not known.
    """
    known = ~cover.isnan().flatten(1).any(dim=1)
    taken = cover.nan_to_num()[:, None]
    total = cover.new_zeros(())
    for logits in maps:
        part = nn.functional.adaptive_avg_pool2d(taken, (logits.shape[2], logits.shape[3]))
        of_mark = part * targets[:, :2, None, None]  # red, brown
        bare = 1.0 - of_mark.sum(dim=1, keepdim=True)
        cells = nn.functional.cross_entropy(
            logits, torch.cat([of_mark, bare], dim=1), reduction="none"
        )
        total = total + (cells.mean(dim=(1, 2)) * known).sum() / known.sum().clamp(min=1)
    return total


@dataclass
class _Best:
    """The best epoch so far, by validation loss of the averaged weights."""

    epoch: int = 0
    loss: float = float("inf")
    weights: dict[str, Tensor] = field(default_factory=dict)


class _Run:
    """One fit: network, averaged weights, optimiser, history, and where they are kept."""

    def __init__(
        self,
        config: RunConfig,
        data: TrainingData,
        fabric: Fabric,
        out: Path,
        start: bundles.Bundle | None,
    ) -> None:
        self.config, self.data, self.fabric, self.out = config, data, fabric, out
        self.start = start
        self.started = {} if start is None else _tensors(start.weights())
        self.history: list[dict[str, float]] = []
        self.events: SummaryWriter | None = None
        self.best = _Best()
        torch.manual_seed(config.seed)
        network = MarkNetwork(config.network)
        if start is not None:
            network.load_state_dict(self.started)
        network = network.to(memory_format=torch.channels_last)
        self.taught = TaughtNetwork(network, config.network.widths)
        decay = get_ema_multi_avg_fn(config.train.ema_decay)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(network, multi_avg_fn=decay, use_buffers=True)
        self.averaged.to(fabric.device)
        optimiser = torch.optim.AdamW(
            self.taught.parameters(),
            lr=config.train.learning_rate,
            weight_decay=config.train.weight_decay,
        )
        self.network, self.optimiser = fabric.setup(self.taught, optimiser)
        self.schedule = LambdaLR(optimiser, self._rate)
        self.validation = _Validation(config, data.validation)
        self.shares = balanced_weights(data.training, config.data.rendered_share)

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one rank in one epoch."""
        train = self.config.train
        return max(1, train.samples_per_epoch // (train.batch_size * self.fabric.world_size))

    def _rate(self, step: int) -> float:
        """Learning rate as a share of its peak: linear warm-up, then a half cosine to zero."""
        total = self.steps_per_epoch * self.config.train.epochs
        warm = max(1, round(self.config.train.warmup_share * total))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - warm) / max(1, total - warm)))))

    @property
    def finished(self) -> bool:
        """All epochs done, or none better for as long as patience lasts."""
        done = len(self.history)
        patient = self.config.train.patience
        return done >= self.config.train.epochs or done - self.best.epoch >= patient

    def train(self, track: Track) -> None:
        """Every epoch still to do; each ends with a validation and a checkpoint."""
        remaining = (self.config.train.epochs - len(self.history)) * self.steps_per_epoch
        losses: list[float] = []
        for last, batch in track(self._batches(), "training", remaining):
            losses.append(self._step(*batch))
            if last:
                self._close_epoch(float(np.mean(losses)))
                losses = []

    def _batches(self) -> Iterator[tuple[bool, tuple[Tensor, Tensor, Tensor]]]:
        dataset = _Prepared(self.config, self.data.training)
        while not self.finished:
            epoch = len(self.history)
            torch.manual_seed(_chance(self.config.seed, epoch, self.fabric.global_rank))
            loader = self._loader(dataset, epoch)
            for number, batch in enumerate(loader, start=1):
                yield number == self.steps_per_epoch, batch

    def _loader(self, dataset: _Prepared, epoch: int) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        train, seed = self.config.train, self.config.seed
        ranks = self.fabric.world_size
        count = self.steps_per_epoch * train.batch_size * ranks
        order = np.random.default_rng([seed, epoch]).choice(
            len(self.data.training), size=count, p=self.shares
        )
        keys = [(seed, epoch, position, int(sample)) for position, sample in enumerate(order)]
        return DataLoader(
            dataset,
            batch_size=train.batch_size,
            sampler=keys[self.fabric.global_rank :: ranks],
            num_workers=train.workers,
        )

    def _step(self, inputs: Tensor, targets: Tensor, cover: Tensor) -> float:
        train = self.config.train
        self.network.train()
        inputs, targets, cover = self.fabric.to_device((inputs, targets, cover))
        logits, maps = self.network(inputs.contiguous(memory_format=torch.channels_last))
        loss = nn.functional.cross_entropy(logits, targets, label_smoothing=train.label_smoothing)
        value = float(loss.detach())
        loss = loss + train.place_weight * place_loss(maps, targets, cover)
        if not np.isfinite(value):
            raise TrainingError(
                f"epoch {len(self.history) + 1}: the loss is {value}; "
                "lower train.learning_rate or use precision 32-true"
            )
        self.optimiser.zero_grad()
        self.fabric.backward(loss)
        self.optimiser.step()
        self.schedule.step()
        self.averaged.update_parameters(self.taught.network)
        return value

    def _close_epoch(self, training_loss: float) -> None:
        epoch = len(self.history) + 1
        weights = self._weights()
        network = evaluation_network(self.config.network, weights).to(self.fabric.device)
        logits = self.validation.logits(network, self.fabric.device)
        if not np.isfinite(logits).all():
            raise TrainingError(
                f"epoch {epoch}: logits of the validation are not finite; "
                "lower train.learning_rate or use precision 32-true"
            )
        figures = {"training_loss": training_loss, **self.validation.figures(logits)}
        # Ranks differ in their batch norms; all must stop at the same epoch.
        figures = self.fabric.broadcast(figures)
        self.history.append({"epoch": epoch, **figures})
        if figures["validation_loss"] < self.best.loss:
            self.best = _Best(epoch, figures["validation_loss"], weights)
        told = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        log.info("epoch %d of %d: %s", epoch, self.config.train.epochs, told)
        if self.fabric.is_global_zero:
            self._keep()

    def _weights(self) -> dict[str, Tensor]:
        """The averaged weights, in part those started from (Wortsman et al., CVPR 2022, eq. 1).

        What few photographs teach holds less elsewhere than what the start knew.
        """
        averaged = self.averaged.module.state_dict()
        weights = {name: value.detach().cpu().clone() for name, value in averaged.items()}
        share = self.config.train.start_share
        for name, started in self.started.items() if share > 0 else ():
            if started.is_floating_point():
                weights[name].lerp_(started, share)
        return weights

    def _keep(self) -> None:
        """Checkpoint, metrics and events of the epoch just closed, each whole or not at all."""
        state = {
            "fingerprint": self._fingerprint(),
            "network": self.taught.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "history": self.history,
            "best": (self.best.epoch, self.best.loss, self.best.weights),
        }
        whole = io.BytesIO()
        torch.save(state, whole)
        write_whole(self.out / CHECKPOINT, whole.getvalue())
        write_whole(self.out / METRICS, _table(self.history))
        last = self.history[-1]
        epoch = int(last["epoch"])
        if self.events is None:
            # One file per process: TensorBoard reads files of one second in no order.
            self.events = SummaryWriter(str(self.out / EVENTS), purge_step=epoch)
        for name, value in last.items():
            self.events.add_scalar(name, value, epoch)
        self.events.flush()

    def close(self) -> None:
        """Close the file of events."""
        if self.events is not None:
            self.events.close()

    def restore(self) -> None:
        """Take up the checkpoint in ``out``."""
        path = self.out / CHECKPOINT
        try:
            state = torch.load(path, map_location=self.fabric.device, weights_only=True)
            fingerprint = state["fingerprint"]
        except Exception as error:
            raise OutputError(f"{path}: not a checkpoint of ours; start anew: {error}") from error
        if fingerprint != self._fingerprint():
            raise ConfigError(
                f"{path}: the config or the data changed since; "
                "resume with the same ones, or start anew with --overwrite"
            )
        self.taught.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.history = state["history"]
        epoch, loss, weights = state["best"]
        self.best = _Best(epoch, loss, {name: value.cpu() for name, value in weights.items()})

    def _fingerprint(self) -> str:
        start = None if self.start is None else self.start.description.files[bundles.WEIGHTS]
        parts = (self.config.model_dump_json(), self.data.digest, start, self.fabric.world_size)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def save(self, command: str) -> Path:
        """Calibrate the best epoch on validation and write the bundle and the curve."""
        network = MarkNetwork(self.config.network)
        network.load_state_dict(self.best.weights)
        network.eval()
        logits = self.validation.logits(network, torch.device("cpu"))
        temperature = fit_temperature(logits, self.validation.targets, self.validation.weights)
        probabilities = softmax(logits, temperature)
        space = self._feature_space(network)
        fitted = self.validation.conformal(network, probabilities, space)
        description = _describe(self, network, temperature, fitted, command)
        figures = self.validation.bundle_figures(probabilities, command)
        saved = bundles.save_bundle(
            self.out / BUNDLE_FOLDER,
            description.model_copy(update={"figures": figures}),
            {name: value.numpy() for name, value in self.best.weights.items()},
            to_onnx(network, self.config.preprocess.size),
            _licence(description),
            features=None if fitted is None or fitted.most_distance is None else space,
            overwrite=True,
        )
        write_whole(self.out / CURVE, _curve(self.history))
        return saved.folder

    def _feature_space(self, network: MarkNetwork) -> FeatureSpace | None:
        """Where the training pictures lie, for gates that bound the distance to them."""
        gates = self.config.gates
        if gates.rule != "conformal" or gates.familiar_share == 1.0:
            return None
        chosen = _of_one_class(self.data.training)
        # Spread over their order: a manifest may be sorted by class.
        chosen = chosen[:: max(1, ceil(len(chosen) / _MOST_LEARNT))]
        features = _features(network, chosen, self.config.preprocess.size)
        return fit_feature_space(features, [_label(sample) for sample in chosen])


def _of_one_class(samples: Sequence[Sample]) -> list[Sample]:
    """Photographs where there are some, else drawn marks; none of mixed colour.

    Drawn marks are no sample of what will come.
    """
    photographs = any(not sample.drawn for sample in samples)
    return [each for each in samples if max(each.target) == 1 and each.drawn != photographs]


def _label(sample: Sample) -> MarkType:
    return LABEL_ORDER[int(np.argmax(sample.target))]


def _tensor(samples: Sequence[Sample], size: int) -> Tensor:
    each = [prepare_pixels(sample.pixels, sample.inner, size) for sample in samples]
    return torch.from_numpy(np.stack([prepared.tensor for prepared in each]))


@torch.inference_mode()
def _features(
    network: MarkNetwork, samples: Sequence[Sample], size: int
) -> npt.NDArray[np.float64]:
    """Pooled features (N, C) of a network in evaluation mode, on the processor."""
    parts = []
    for start in range(0, len(samples), _EVALUATION_BATCH):
        inputs = _tensor(samples[start : start + _EVALUATION_BATCH], size)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        parts.append(network.features(inputs)[1])
    return torch.cat(parts).double().numpy()


class _Validation:
    """Held-out pictures, and what is measured on them."""

    def __init__(self, config: RunConfig, samples: Sequence[Sample]) -> None:
        self._size = config.preprocess.size
        self._gates = config.gates
        self.samples = samples
        self.targets = np.array([sample.target for sample in samples])
        self.weights = balanced_weights(samples, config.data.rendered_share)

    @torch.inference_mode()
    def logits(self, network: nn.Module, device: torch.device) -> npt.NDArray[np.float64]:
        """Logits (N, 3) of a network in evaluation mode."""
        network.eval()
        parts = []
        for start in range(0, len(self.samples), _EVALUATION_BATCH):
            # Prepared anew each time: kept, they would be the run's largest block of memory.
            inputs = _tensor(self.samples[start : start + _EVALUATION_BATCH], self._size).to(device)
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            parts.append(network(inputs).float().cpu())
        return torch.cat(parts).double().numpy()

    def figures(self, logits: npt.NDArray[np.float64]) -> dict[str, float]:
        """Weighted log loss, and AUROC of red against brown on photographs and on drawn marks."""
        probabilities = softmax(logits)
        losses = -(self.targets * np.log(np.maximum(probabilities, 1e-12))).sum(axis=1)
        told = {"validation_loss": float(np.average(losses, weights=self.weights))}
        for name, rows in self._red_or_brown().items():
            brown = self.targets[rows, 1] == 1
            told[f"auroc_{name}"] = float(auroc(brown, separation(probabilities[rows])))
        return told

    def bundle_figures(
        self, probabilities: npt.NDArray[np.float64], command: str
    ) -> tuple[bundles.Figure, ...]:
        """Validation figures with intervals, for the bundle; the fit has chosen by them."""
        figures = []
        for name, rows in self._red_or_brown().items():
            brown = self.targets[rows, 1] == 1
            scores = separation(probabilities[rows])
            interval = bootstrap_interval(
                lambda counts, brown=brown, scores=scores: auroc(brown, scores, counts),  # type: ignore[misc]
                brown,
                np.array([self.samples[row].group_id for row in rows]),
            )
            figures.append(
                bundles.Figure(
                    name="AUROC red against brown, validation (used to stop the fit)",
                    value=interval.value,
                    low=interval.low,
                    high=interval.high,
                    n=interval.n,
                    data=f"held-out {name}",
                    command=command,
                )
            )
        return tuple(figures)

    def conformal(
        self,
        network: MarkNetwork,
        probabilities: npt.NDArray[np.float64],
        space: FeatureSpace | None,
    ) -> ConformalGate | None:
        """What the rule conformal needs, where the config asks for it.

        Drawn pictures stand in for a class of which too few photographs are held out.
        """
        if self._gates.rule != "conformal":
            return None
        chosen = _of_one_class(self.samples)
        if not chosen:
            raise SplitError(
                "gates.rule conformal: no held-out picture of one class to fit on; "
                "raise data.validation_share, or use the rule floor"
            )
        fitted = self._fitted(chosen, network, probabilities, space)
        spare = _of_one_class([sample for sample in self.samples if sample.drawn])
        if chosen[0].drawn or not spare:
            return fitted
        return filled(fitted, self._fitted(spare, network, probabilities, None))

    def _fitted(
        self,
        chosen: Sequence[Sample],
        network: MarkNetwork,
        probabilities: npt.NDArray[np.float64],
        space: FeatureSpace | None,
    ) -> ConformalGate:
        gates = self._gates
        places = {id(sample): row for row, sample in enumerate(self.samples)}
        features = None if space is None else _features(network, chosen, self._size)
        return fit_conformal(
            probabilities[[places[id(sample)] for sample in chosen]],
            [_label(sample) for sample in chosen],
            [sample.group_id for sample in chosen],
            coverage=gates.coverage,
            named_share=gates.named_share,
            distances=None if space is None or features is None else space.distances(features),
            familiar_share=gates.familiar_share,
            data="held-out rendered pictures" if chosen[0].drawn else "held-out photographs",
        )

    def _red_or_brown(self) -> dict[str, npt.NDArray[np.intp]]:
        """Rows of one pure colour, photographs and drawn marks apart, where both colours are."""
        pure = self.targets[:, :2].max(axis=1) == 1
        drawn = np.array([sample.drawn for sample in self.samples])
        parts = {
            "photographs": np.flatnonzero(pure & ~drawn),
            "rendered": np.flatnonzero(pure & drawn),
        }
        return {
            name: rows
            for name, rows in parts.items()
            if len(np.unique(self.targets[rows, 1])) == len(MarkType) - 1
        }


def _chance(*numbers: int) -> int:
    return int(np.random.default_rng(numbers).integers(2**31))


def _tensors(weights: Any) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}


def _describe(
    run: _Run,
    network: MarkNetwork,
    temperature: float,
    fitted: ConformalGate | None,
    command: str,
) -> bundles.BundleDescription:
    config, data = run.config, run.data
    drawn = sum(sample.drawn for sample in data.training)
    photographs = sum(not s.drawn for s in [*data.training, *data.validation])
    sources = sorted({s.source for s in data.training if not s.drawn})
    summary = f"{drawn} rendered pictures and "
    summary += f"{photographs} photographs ({', '.join(sources)})" if sources else "no photograph"
    licence = config.data_licence
    if run.start is not None:
        before = run.start.description
        digest = before.files[bundles.WEIGHTS][:12]
        summary += f", from the weights of {before.name} (SHA-256 {digest}...)"
        if config.train.start_share > 0:
            summary += f", which are {config.train.start_share:.0%} of the result (WiSE-FT)"
        if before.data.photographs:  # their terms go with the weights
            photographs += before.data.photographs
            licence += f" And, through the weights of {before.name}: {before.data_licence}"
    libraries = ("torch", "torchvision", "albumentations", "lightning", "numpy", "scikit-learn")
    return bundles.BundleDescription(
        name=config.name,
        version=version("diascope"),
        created=datetime.now(UTC).replace(microsecond=0),
        preprocessing=bundles.Preprocessing(size=config.preprocess.size),
        network=config.network,
        parameters=parameter_count(network),
        temperature=temperature,
        gates=config.gates,
        quality=config.quality,
        conformal=fitted,
        data=bundles.TrainingData(
            digest=data.digest,
            summary=summary,
            rendered=drawn,
            photographs=photographs,
        ),
        data_licence=licence,
        intended_use=config.intended_use,
        library_versions={name: version(name) for name in libraries},
        command=command,
    )


def _licence(description: bundles.BundleDescription) -> str | None:
    """Text of the weights' own licence; None where no photograph was used."""
    if not description.data.photographs:
        return None
    return (
        f"Weights of the model {description.name}\n\n"
        f"{description.intended_use}\n\n"
        f"Photographs it learnt from: {description.data_licence}\n\n"
        "These weights are not covered by the Apache-2.0 licence of the diascope code.\n"
    )


def _table(history: Sequence[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def _curve(history: Sequence[dict[str, float]]) -> bytes:
    """Losses and AUROC over the epochs, as PNG."""
    drawing = Drawing(figsize=(8, 3.5), layout="constrained")
    FigureCanvasAgg(drawing)
    losses, areas = drawing.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for name in history[0]:
        if name == "epoch":
            continue
        axes = areas if name.startswith("auroc") else losses
        axes.plot(epochs, [row[name] for row in history], label=name.replace("_", " "))
    for axes, title in ((losses, "loss"), (areas, "AUROC, validation")):
        axes.set(xlabel="epoch", title=title)
        if axes.lines:
            axes.legend()
    whole = io.BytesIO()
    drawing.savefig(whole, format="png", dpi=120)
    return whole.getvalue()
