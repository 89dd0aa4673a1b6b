"""One way through a folder of pictures per function: what benchmarks/peers.py times.

    python benchmarks/contestants.py NAME FOLDER OUT [--batch N] [--workers N]

Peers have untrained weights: only speed counts. Each writes a CSV with one row per picture.
"""

import argparse
import csv
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

MODELS = Path(os.environ.get("PEER_MODELS", "."))
"""Folder for an untrained model that a peer must find on the disk."""

SIZE = 160  # side of the input of models/photos


def timm(folder: Path, out: Path, batch: int, workers: int) -> None:
    """As timm's inference.py does it: ImageDataset, create_loader, softmax, topk, a pandas CSV."""
    import pandas
    import torch
    from timm.data import create_dataset, create_loader, resolve_data_config
    from timm.models import create_model

    model = create_model("mobilenetv3_small_100", pretrained=False).eval()
    dataset = create_dataset(root=str(folder), name="")
    config = resolve_data_config({}, model=model)
    loader = create_loader(
        dataset,
        batch_size=batch,
        use_prefetcher=True,
        num_workers=workers,
        device=torch.device("cpu"),
        **config,
    )
    values, indices = [], []
    with torch.inference_mode():
        for pictures, _ in loader:
            top, index = model(pictures).softmax(-1).topk(5)
            values.append(top.cpu())
            indices.append(index.cpu())
    rows = {"filename": loader.dataset.filenames(basename=False)}
    probabilities, labels = torch.cat(values).numpy(), torch.cat(indices).numpy()
    for place in range(5):
        rows[f"label_{place}"] = labels[:, place]
        rows[f"prob_{place}"] = probabilities[:, place]
    pandas.DataFrame(rows).to_csv(out, index=False)


def ultralytics(folder: Path, out: Path, batch: int, workers: int) -> None:
    """YOLO.predict over the folder, streamed; it reads in its own one thread."""
    from ultralytics import YOLO

    model = YOLO("yolo26n-cls.yaml", task="classify")
    results = model.predict(str(folder), stream=True, batch=batch, device="cpu", verbose=False)
    rows = ((each.path, each.probs.top1, float(each.probs.top1conf)) for each in results)
    _write(out, rows)


def transformers(folder: Path, out: Path, batch: int, workers: int) -> None:
    """An image-classification pipeline over the list of paths, with an untrained MobileNetV2."""
    from transformers import pipeline

    names = sorted(str(file) for file in folder.iterdir())
    classify = pipeline(
        "image-classification", model=str(_untrained_mobilenet()), device="cpu", top_k=1
    )
    answers = classify(names, batch_size=batch, num_workers=workers)
    _write(out, ((name, *top[0].values()) for name, top in zip(names, answers, strict=True)))


def _untrained_mobilenet() -> Path:
    from transformers import (
        MobileNetV2Config,
        MobileNetV2ForImageClassification,
        MobileNetV2ImageProcessor,
    )

    folder = MODELS / "mobilenet_v2"
    if not folder.exists():
        MobileNetV2ForImageClassification(
            MobileNetV2Config(num_labels=1000, depth_multiplier=0.35)
        ).save_pretrained(folder)
        MobileNetV2ImageProcessor().save_pretrained(folder)
    return folder


def decode(folder: Path, out: Path, batch: int, workers: int) -> None:
    """The limit: the files' pixels by diascope's own decoder and scale, and nothing else."""
    _write(out, _in_processes(_decode_all, folder, batch, workers))


def decode_and_network(folder: Path, out: Path, batch: int, workers: int) -> None:
    """Decode as above and run diascope's network on as many tensors that are there already."""
    _write(out, _in_processes(_decode_and_run, folder, batch, workers))


def _in_processes(work, folder: Path, batch: int, workers: int) -> Iterator[tuple[str, int]]:
    names = sorted(str(file) for file in folder.iterdir())
    batches = [names[start : start + batch] for start in range(0, len(names), batch)]
    with ProcessPoolExecutor(workers) as pool:
        for rows in pool.map(work, batches):
            yield from rows


def _decode_all(names: list[str], side: int = 2 * SIZE) -> list[tuple[str, int]]:
    import simplejpeg

    return [
        (
            name,
            simplejpeg.decode_jpeg(
                Path(name).read_bytes(), "RGB", min_height=side, min_width=side
            ).shape[0],
        )
        for name in names
    ]


def _decode_and_run(names: list[str]) -> list[tuple[str, int]]:
    session, tensors = _session()
    session.run(["logits"], {"relative_density": tensors[: len(names)]})
    return _decode_all(names)


_HELD: list = []


def _session():
    import numpy as np
    import onnxruntime

    if not _HELD:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        graph = Path(__file__).parents[1] / "models" / "photos" / "model.onnx"
        tensors = np.random.default_rng(1).normal(0, 0.1, (256, 3, SIZE, SIZE)).astype(np.float32)
        _HELD.extend((onnxruntime.InferenceSession(graph, options), tensors))
    return _HELD


def _write(out: Path, rows) -> None:
    with out.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "first", "second"))
        table.writerows(rows)


CONTESTANTS = {
    "timm": timm,
    "ultralytics": ultralytics,
    "transformers": transformers,
    "decode": decode,
    "decode-and-network": decode_and_network,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="run one contestant over a folder of pictures")
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    CONTESTANTS[arguments.name](arguments.folder, arguments.out, arguments.batch, arguments.workers)


if __name__ == "__main__":
    sys.exit(main())
