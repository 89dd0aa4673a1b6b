"""The command line: parse, call, print; no logic.

Results go to stdout, progress and complaints to stderr. Exit status: 0 done, 1 failed, 2 a command
line that is none, 3 done but some pictures could not be read, 130 ended by Ctrl-C. What a command
needs beyond the base is imported when it runs, so that ``diascope predict photo.jpg`` answers
within a second.
"""

# ruff: noqa: PLC0415 cold start: each command imports what it runs

import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from diascope.cli import audit, data  # noqa: F401 audit adds its commands to data's group
from diascope.cli.terminal import complain, console, examples, say, tracking
from diascope.config import RunConfig, load_config
from diascope.errors import DiascopeError, ImageError, MissingExtraError
from diascope.guidance import Context
from diascope.labels import INTENDED_USE, ManifestLabel, Verdict
from diascope.machine import available_cores

if TYPE_CHECKING:
    from diascope.bundle import Figure
    from diascope.figures import Evaluation
    from diascope.inference import Prediction
    from diascope.preprocess import Box
    from diascope.scoring import ScoreInput

SOME_UNREADABLE = 3
"""Exit status when some pictures could not be read and the others were judged."""

_EXTRAS = {
    "albumentations": "train",
    "jinja2": "train",
    "lightning": "train",
    "matplotlib": "train",
    "onnx": "train",
    "onnx_ir": "train",
    "onnxscript": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "torch": "train",
    "torchvision": "train",
    "urllib3": "data",
}
"""Packages beyond the base, and the extra that installs each."""


class _Commands(TyperGroup):
    """Turns an error that is meant for the user into its lines on stderr and exit status 1."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except ImportError as error:
            extra = _EXTRAS.get((error.name or "").partition(".")[0])
            if extra is None:
                raise
            complain(
                MissingExtraError(
                    f"this command needs {error.name}, which is not installed:\n"
                    f"pip install 'diascope[{extra}]'"
                )
            )
        except DiascopeError as error:
            complain(error)
        raise typer.Exit(1)


app = typer.Typer(
    name="diascope",
    cls=_Commands,
    help="Tells red marks (erythema) from brown marks (hyperpigmentation) in photographs of skin, "
    f"with sourced guidance.\n\n{INTENDED_USE}",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
models = typer.Typer(
    help="Show what a model is and where it comes from, or verify that it is unchanged.",
    no_args_is_help=True,
)
app.add_typer(models, name="model")
packs = typer.Typer(
    help="Show what the documents say, hold a guidance pack against them, or start a pack.",
    no_args_is_help=True,
)
app.add_typer(packs, name="guidance")
app.add_typer(data.group, name="data")


def main() -> None:
    """Entry point of the ``diascope`` command."""
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diascope {version('diascope')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


def _box(text: str) -> "Box":
    from diascope.scoring import parse_box

    try:
        return parse_box(text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{text}: {error}") from None


def _auto_or_number(text: str) -> Any:
    if text == "auto" or (text.isascii() and text.isdecimal() and int(text) > 0):
        return text if text == "auto" else int(text)
    raise typer.BadParameter(f"{text}: give auto, or how many work at once")


Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE...", help="JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC pictures."
    ),
]
MaxPixels = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        show_default="200 million of a JPEG that can be decoded small, 64 million of others",
        help="Refuse larger pictures before they are decoded.",
    ),
]
MaxBytes = Annotated[
    int | None,
    typer.Option(
        "--max-bytes", min=1, show_default="100 million", help="Refuse larger files unread."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="PATH|photos|rendered",
        help="A bundle's folder, or a shipped one: photos (the default; learnt from photographs, "
        "research and education use only) or rendered (learnt from drawn marks alone).",
    ),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    typer.Option("--device", help="cuda needs diascope[train] and a GPU; auto takes one if there."),
]
Runtime = Annotated[
    Literal["onnx", "torch"],
    typer.Option("--runtime", help="Both give the same within 1e-4; torch needs diascope[train]."),
]
GuidanceFolder = Annotated[
    Path | None,
    typer.Option(
        "--guidance",
        metavar="DIR",
        help="Another guidance pack: a folder with documents.toml and claims.toml.",
    ),
]
BoxOption = Annotated[
    Any,
    typer.Option(
        "--box",
        metavar="L,T,R,B",
        parser=_box,
        help="Left, top, right, bottom of the mark in pixels of the upright picture; the skin "
        "around it is then the reference. For one picture only.",
    ),
]
Blanches = Annotated[
    Literal["yes", "no"] | None,
    typer.Option("--blanches", help="Glass test: does the colour fade under a pressed glass?"),
]
Contexts = Annotated[
    list[Context] | None,
    typer.Option("--context", help="What is known of the person; may be given several times."),
]
Data = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="MANIFEST",
        help="CSV or Parquet with path (relative to it), mark_type, condition, source, group_id "
        "and, where known, left, top, right, bottom of the mark.",
    ),
]
Config = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="A run's settings as TOML; see configs/.")
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="BUNDLE",
        show_default="the config's",
        help="Start from a bundle's weights: fine-tune on a few pictures of your own.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a setting, such as train.epochs=5; may be given several times.",
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what an earlier run wrote there.")
]


Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, show_default="one per core", help="How many work at once."),
]


@app.command(
    epilog=examples(
        "diascope predict photo.jpg",
        "diascope predict photo.jpg --box 120,80,260,210 --blanches yes --context pregnancy",
        "diascope predict *.jpg --json > predictions.json",
        "diascope predict --table data/sample/manifest.csv --model rendered",
    )
)
def predict(
    images: Images,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON array, one object per picture, in their order."),
    ] = False,
    as_table: Annotated[
        bool,
        typer.Option(
            "--table",
            help="Print one row per picture. A folder or a CSV manifest may stand for pictures; "
            "with mark_type in the manifest, right verdicts are counted.",
        ),
    ] = False,
    box: BoxOption = None,
    blanches: Blanches = None,
    contexts: Contexts = None,
    model: Model = None,
    device: Device = "cpu",
    runtime: Runtime = "onnx",
    guidance: GuidanceFolder = None,
    max_pixels: MaxPixels = None,
    max_bytes: MaxBytes = None,
) -> None:
    """Judge pictures: verdict, probabilities, reasons, and guidance with its sources.

    A picture that cannot be read does not stop the others; the exit status is then 3, or 1 where
    none could be read.
    """
    from diascope.image import Limits
    from diascope.inference import Predictor
    from diascope.scoring import listed_inputs, predict_inputs

    if as_json and as_table:
        raise typer.BadParameter("--json and --table exclude each other")
    if "" in images:
        raise typer.BadParameter("the name of a picture is empty; name a file")
    if box is not None and len(images) > 1:
        raise typer.BadParameter("--box belongs to one picture; give one, or a manifest to score")
    inputs = listed_inputs(
        images, box=box, blanches=_answer(blanches), contexts=contexts or (), expand=as_table
    )
    limits = Limits.of(max_pixels, max_bytes)
    predictor = Predictor.load(
        model, device=device, runtime=runtime, guidance=guidance, limits=limits
    )
    answers = list(predict_inputs(predictor, inputs))
    if as_json:
        _print_json(answers)
    elif as_table:
        _print_table(answers, predictor.name)
    else:
        _print_panels(answers)
    _leave_by(answers)


@app.command(
    epilog=examples(
        "diascope explain photo.jpg --out map.png",
        "diascope explain photo.jpg --box 120,80,260,210 --out map.pdf --overwrite",
    )
)
def explain(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF or HEIC.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The sheet, as .png, .pdf or .svg.")
    ],
    box: BoxOption = None,
    model: Model = None,
    device: Device = "cpu",
    runtime: Runtime = "onnx",
    overwrite: Overwrite = False,
) -> None:
    """Show on one sheet what a verdict rests on: evidence maps, melanin, haemoglobin.

    The evidence for red against brown, and for a mark against none, laid over the picture, with
    verdict and probabilities. Needs diascope[train].
    """
    from diascope.explain import check_sheet, write_sheet
    from diascope.inference import Predictor

    check_sheet(out, overwrite, picture=image)
    explanation = Predictor.load(model, device=device, runtime=runtime).explain(image, box=box)
    write_sheet(explanation, Path(image).name, out, overwrite=overwrite)
    told = f"verdict {explanation.verdict}, model {explanation.model_name}"
    say(f"{out}: {told}", INTENDED_USE)


def _answer(blanches: str | None) -> bool | None:
    return None if blanches is None else blanches == "yes"


Answers = Sequence[tuple["ScoreInput", "Prediction | ImageError"]]


def _print_json(answers: Answers) -> None:
    from diascope.scoring import record_of

    typer.echo(json.dumps([record_of(*pair) for pair in answers], indent=2, allow_nan=False))


def _print_table(answers: Answers, model: str) -> None:
    from diascope.cli.display import intended_use, predictions_table, print_wide

    print_wide(predictions_table(answers, model))
    console().print(intended_use())


def _print_panels(answers: Answers) -> None:
    from diascope.cli.display import intended_use, prediction_panel

    out = console()
    judged = [(item, answer) for item, answer in answers if not isinstance(answer, ImageError)]
    for item, prediction in judged:
        out.print(prediction_panel(item.path, prediction))
    if judged:
        out.print(intended_use())


def _leave_by(answers: Answers) -> None:
    """Complain of every picture that could not be read, and let the exit status say so."""
    failed = [answer for _, answer in answers if isinstance(answer, ImageError)]
    for error in failed:
        complain(error)
    if failed:
        raise typer.Exit(SOME_UNREADABLE if len(failed) < len(answers) else 1)


Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A folder (recursive, sorted); a glob; a manifest (.csv, .jsonl, .parquet) with "
        "path (relative to it) and, where known, id, left, top, right, bottom, blanches (yes "
        "or no), contexts; a list of paths or addresses (.txt, .lst, or - for standard "
        "input); an archive (.zip, .tar, .tar.gz); an address (https, s3, gs).",
    ),
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        metavar="FILE",
        help="The rows, as .csv, .jsonl or .parquet; - writes to standard output; with --engine "
        "ray, a folder or address that ends in / gets Parquet parts.",
    ),
]
FormatName = Annotated[
    Literal["csv", "jsonl", "parquet"] | None,
    typer.Option("--format", show_default="by the name; csv for -", help="How rows are written."),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on where a run of the same command was cut off; refused where model, inputs "
        "or settings have changed.",
    ),
]
WorkerCount = Annotated[
    Any,
    typer.Option(
        "--workers",
        metavar="auto|N",
        parser=_auto_or_number,
        help="Processes that work at once; auto: one per core, threads for few pictures.",
    ),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, help="Pictures per step of a worker.")
]
PartRows = Annotated[
    int,
    typer.Option(
        "--part-rows",
        min=1,
        help="Rows that are kept at a time: what a crash can cost, and a Parquet row group.",
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="local: this machine. ray: Ray Data; needs diascope[ray]."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address",
        metavar="ADDRESS",
        envvar="RAY_ADDRESS",
        show_default="one is started here",
        help="With --engine ray: a cluster that runs already, as ray://host:10001 or auto.",
    ),
]


@app.command(
    epilog=examples(
        "diascope score photos/ --out rows.csv",
        "diascope score manifest.csv --out rows.parquet --resume",
        "diascope score 'photos/**/*.jpg' --out rows.jsonl --workers 8",
        "find photos -name '*.jpg' | diascope score - --out -",
        "diascope score s3://bucket/photos --out s3://bucket/rows/ --engine ray --ray-address auto",
    )
)
def score(
    source: Source,
    out: Out,
    format_name: FormatName = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    model: Model = None,
    device: Device = "cpu",
    runtime: Runtime = "onnx",
    guidance: GuidanceFolder = None,
    workers: WorkerCount = "auto",
    batch_size: BatchSize = 32,
    part_rows: PartRows = 2000,
    max_pixels: MaxPixels = None,
    max_bytes: MaxBytes = None,
    engine: Engine = "local",
    ray_address: RayAddress = None,
) -> None:
    """Judge many pictures: exactly one row each, in their order.

    A picture that cannot be read has a row that says why; the exit status is then 3. The file
    appears when it is whole: until then its rows are kept beside it, and --resume goes on after
    whatever cut the run off, to the same bytes. What made the rows stands in the file's metadata
    (Parquet) or in NAME.meta.json.
    """
    from diascope.cli.score import Scoring
    from diascope.image import Limits
    from diascope.inference import Predictor
    from diascope.scoring import Cluster, Status

    if engine == "ray":
        # Its workers take the device; here is perhaps none.
        workers = Cluster(ray_address, None if workers == "auto" else workers, device)
        device = "cpu"
    run = Scoring(out, format_name, resume=resume, overwrite=overwrite, part_rows=part_rows)
    try:
        inputs = run.inputs(source)
        predictor = Predictor.load(
            model,
            device=device,
            runtime=runtime,
            guidance=guidance,
            threads=1,  # the cores are taken by the workers
            limits=Limits.of(max_pixels, max_bytes),
        )
        summary = run.score(predictor, inputs, workers, batch_size)
    except KeyboardInterrupt:
        run.interrupted()
    if summary.counts.get(Status.UNREADABLE):
        raise typer.Exit(SOME_UNREADABLE)


@app.command(
    epilog=examples(
        "diascope train --config configs/demo.toml --out runs/demo",
        "diascope train --config configs/photos.toml --data photos/manifest.csv --resume",
        "diascope train --config configs/own.toml --data mine.csv --init-from models/photos "
        "--set train.epochs=5",
    )
)
def train(
    config: Config,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="MANIFEST",
            help="Photographs: CSV or Parquet with path (relative to it), mark_type (erythematous, "
            "hyperpigmented, neither, mixed; other is left out), condition, source, group_id.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            show_default="runs/NAME",
            help="Where bundle, checkpoint, metrics.csv, curve.png and TensorBoard events go.",
        ),
    ] = None,
    settings: Settings = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last epoch of a run cut off.")
    ] = False,
    init_from: InitFrom = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option("--device", show_default="the config's", help="Where to train."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a model on rendered marks, on photographs, or on both, and save it as a bundle."""
    run = _run_config(config, settings, device)

    from diascope import dataset, training
    from diascope.bundle import resolve_bundle

    out = out or Path("runs") / run.name
    training.check_output(out, resume=resume, overwrite=overwrite)
    with tracking() as track:
        rows: Sequence[dataset.ManifestRow] = ()
        if data is not None:
            # Rows marked other too: two pictures may be of one person through such a row alone.
            rows = dataset.joined_rows(
                dataset.read_manifest(data).rows, run.data, config_folder=config.parent, track=track
            )
        result = training.fit(
            run,
            rows,
            out,
            resume=resume,
            init_from=None if init_from is None else resolve_bundle(init_from),
            overwrite=overwrite,
            command=_command(),
            track=track,
        )
    say(f"{result.bundle_folder}: saved, best of {result.epochs} epochs is {result.best_epoch}")


def _run_config(file: Path, settings: Sequence[str] | None, device: str | None) -> RunConfig:
    chosen = [] if device is None else [f'train.device="{device}"']
    return load_config(file, [*(settings or ()), *chosen])


def _command() -> str:
    """The command line for the record, which is published: no path says whose machine it was."""
    return shlex.join(["diascope", *map(_published, sys.argv[1:])])


def _published(argument: str) -> str:
    if Path(argument).is_absolute():
        return _without_machine(argument)
    # A path may stand behind --option= or in a setting's quotes.
    return "".join(
        _without_machine(part) if Path(part).is_absolute() else part
        for part in re.split("([=\"'])", argument)
    )


def _without_machine(name: str) -> str:
    """An absolute path from here on, or its last two parts where it leads elsewhere."""
    path = Path(os.path.normpath(name))
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(Path(*path.parts[1:][-2:]))


Card = Annotated[
    bool, typer.Option("--card", help="Also put the figures into the bundle's model card.")
]


Pictures = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="MANIFEST",
        help="Labelled pictures, as for train; columns fitzpatrick (1 to 6) or monk (1 to 10) give "
        "figures by labelled skin tone.",
    ),
]
ToneSweep = Annotated[
    Path | None,
    typer.Option(
        "--sweep",
        metavar="FILE",
        help="Draw the same marks on skins of all tones and measure by tone: configs/sweep.toml.",
    ),
]
Sturdiness = Annotated[
    bool,
    typer.Option(
        "--sturdiness/--no-sturdiness",
        help="Judge the red and brown pictures again in other light, size and file.",
    ),
]
Page = Annotated[
    bool, typer.Option("--page/--no-page", help="Also write the page; needs diascope[train].")
]
ShowMistakes = Annotated[
    bool,
    typer.Option(
        "--show-mistakes",
        help="Put small copies of your worst judged pictures into the page, which then holds "
        "photographs of people. Without it they are only named.",
    ),
]


@app.command(
    epilog=examples(
        "diascope evaluate --model photos --data photos/manifest.csv --out runs/evaluation",
        "diascope evaluate --model photos --sweep configs/sweep.toml --out runs/sweep",
        "diascope evaluate --model runs/mine/bundle --data mine.csv --sweep configs/sweep.toml "
        "--out runs/e --card --show-mistakes",
    )
)
def evaluate(
    model: Annotated[
        str, typer.Option("--model", metavar="PATH|photos|rendered", help="The bundle to measure.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Where evaluation.json and evaluation.html are written."
        ),
    ],
    data: Pictures = None,
    sweep: ToneSweep = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="CSV",
            help="Copies and persons known (path, group_id), besides the copies found.",
        ),
    ] = None,
    sturdiness: Sturdiness = True,
    page: Page = True,
    show_mistakes: ShowMistakes = False,
    device: Device = "cpu",
    workers: Workers = None,
    card: Card = False,
    overwrite: Overwrite = False,
) -> None:
    """Measure a bundle on labelled pictures, on drawn skins of all tones, or on both.

    Figures with 95 % intervals, overall, per source and per skin tone, beside plain colour
    statistics; as JSON and as one page to read. Of rows marked other the share that is declined is
    told; rows marked mixed are counted by verdict. Intervals are bootstrapped over groups. Do not
    measure a model on pictures it was trained on.
    """
    from diascope import evaluation
    from diascope.bundle import resolve_bundle

    if data is None and sweep is None:
        raise typer.BadParameter("nothing to measure on; give --data, --sweep or both")
    if show_mistakes and (data is None or not page):
        raise typer.BadParameter("--show-mistakes shows pictures of --data on the page; give both")
    if page:
        from diascope import report
    evaluation.check_output(out, page=page, overwrite=overwrite, show_mistakes=show_mistakes)
    plan = evaluation.Plan.read(
        data, sweep, groups=groups, sturdiness=sturdiness, show_mistakes=show_mistakes
    )
    with tracking() as track:
        whole, shown = evaluation.run(
            plan, model, device=device, workers=workers, command=_command(), track=track
        )
    html = report.page(whole, shown) if page else None
    file = evaluation.write_report(whole, out, html, overwrite=overwrite)
    _print_evaluation(whole, file if html is None else out / evaluation.PAGE)
    if card:
        _into_card(resolve_bundle(model), evaluation.card_figures(whole))


def _print_evaluation(whole: "Evaluation", file: Path) -> None:
    from diascope import evaluation
    from diascope.cli.display import figures_table, print_wide

    tables, notes = evaluation.told_of(whole)
    for rows in tables:
        print_wide(figures_table(rows))
    say(*notes, str(file), INTENDED_USE)


def _print_figures(rows: Sequence[Sequence[str]], notes: Sequence[str], file: Path) -> None:
    from diascope.cli.display import figures_table, print_wide

    print_wide(figures_table(rows))
    say(*notes, str(file), INTENDED_USE)


def _into_card(folder: Path, figures: "Sequence[Figure]") -> None:
    """Figures measured anew take the place of the old ones; the others stay."""
    from diascope.bundle import load_bundle, with_figures

    anew = {(figure.name, figure.data) for figure in figures}
    old = load_bundle(folder).description.figures
    kept = [figure for figure in old if (figure.name, figure.data) not in anew]
    bundle = with_figures(folder, [*kept, *figures])
    say(f"{bundle.folder}: figures written, its digest is now {bundle.digest[:12]}")


@app.command(
    "cross-validate",
    epilog=examples(
        "diascope cross-validate --config configs/photos.toml --data photos/manifest.csv "
        "--by source --fold dermnet --fold sd198+melasma-web --out runs/left-out",
        "diascope cross-validate --config configs/photos.toml --data photos/manifest.csv "
        "--by group --folds 5 --out runs/grouped",
    ),
)
def cross_validate(
    config: Config,
    data: Data,
    by: Annotated[
        Literal["source", "group"],
        typer.Option("--by", help="Leave out whole sources, or groups dealt into folds."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Where figures, predictions and the folds' bundles go."
        ),
    ],
    fold: Annotated[
        list[str] | None,
        typer.Option(
            "--fold",
            metavar="SOURCE[+SOURCE...]",
            show_default="each source by itself",
            help="Sources left out together; once per fold, with --by source.",
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option("--folds", min=2, help="Number of folds, with --by group.")
    ] = 5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the deal into folds.")] = 0,
    settings: Settings = None,
    init_from: InitFrom = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None,
        typer.Option("--device", show_default="the config's", help="Where to train."),
    ] = None,
    card: Annotated[
        str | None,
        typer.Option(
            "--card", metavar="BUNDLE", help="Also put the figures into this bundle's model card."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train without a part of the photographs and judge that part, for every part in turn.

    Colour statistics with logistic regression are judged on the same rows. A run cut off goes on
    after its last finished fold.
    """
    run = _run_config(config, settings, device)

    from diascope import cross_validation, dataset
    from diascope.bundle import resolve_bundle

    with tracking() as track:
        report = cross_validation.cross_validate(
            run,
            dataset.read_manifest(data),
            by=by,
            out=out,
            folds=None if fold is None else [names.split("+") for names in fold],
            group_folds=folds,
            seed=seed,
            config_folder=config.parent,
            init_from=None if init_from is None else resolve_bundle(init_from),
            overwrite=overwrite,
            track=track,
        )
    rows, notes = cross_validation.table(report), cross_validation.notes(report)
    _print_figures(rows, notes, out / cross_validation.REPORT)
    if card is not None:
        figures = cross_validation.figures_of(report, _command())
        _into_card(resolve_bundle(card), figures)


@app.command(
    epilog=examples(
        "diascope render --count 1000 --out drawn --seed 7",
        "diascope render --count 24 --out data/sample --seed 2026 --mark-type erythematous "
        "--mark-type hyperpigmented --mark-type neither --contrast 12 30 --no-truth",
    )
)
def render(
    count: Annotated[int, typer.Option("--count", min=1, help="Pictures to draw.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", help="Where pictures, manifest.csv and truth/ are written."
        ),
    ],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.")],
    size: Annotated[
        int, typer.Option("--size", min=32, max=1024, help="Side of a picture in pixels.")
    ] = 128,
    mark_types: Annotated[
        list[ManifestLabel] | None,
        typer.Option(
            "--mark-type",
            show_default="at random",
            help="Mark types given out in turn, all but other; may be given several times.",
        ),
    ] = None,
    contrast: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--contrast",
            metavar="LOW HIGH",
            show_default="4.5 32",
            help="Least and largest CIELAB distance of a mark from its skin.",
        ),
    ] = None,
    truth: Annotated[
        bool,
        typer.Option(
            "--truth/--no-truth",
            help="Keep each picture's mask, melanin and haemoglobin maps as npz.",
        ),
    ] = True,
    workers: Workers = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw pictures of skin with marks, from melanin and haemoglobin; no photograph is needed."""
    from diascope.renderer import CONTRAST_RANGE, write_rendered

    if ManifestLabel.OTHER in (mark_types or ()):
        raise typer.BadParameter("other cannot be drawn")
    if contrast is not None and not 0 < contrast[0] <= contrast[1]:
        raise typer.BadParameter("--contrast wants two numbers above 0, the lower first")
    with tracking() as track:
        manifest = write_rendered(
            out,
            count,
            seed,
            size,
            workers=workers or available_cores(),
            mark_types=mark_types or (),
            contrast=contrast or CONTRAST_RANGE,
            truth=truth,
            overwrite=overwrite,
            track=track,
        )
    say(f"{manifest}: {count} pictures")


Bundle = Annotated[
    str, typer.Argument(metavar="PATH|photos|rendered", help="A bundle's folder or shipped name.")
]


@models.command("show", epilog=examples("diascope model show photos"))
def show_model(bundle: Bundle) -> None:
    """Print the model card: what it does, what it learnt from, its figures, its licence."""
    from diascope.bundle import load_bundle, model_card, resolve_bundle
    from diascope.cli.display import document

    loaded = load_bundle(resolve_bundle(bundle))
    console().print(document(model_card(loaded.description)))
    say(f"SHA-256 of bundle.json: {loaded.digest}")


@models.command("verify", epilog=examples("diascope model verify runs/demo/bundle"))
def verify_model(bundle: Bundle) -> None:
    """Check every file of a bundle against its digest; fails naming the one that is off."""
    from diascope.bundle import load_bundle, resolve_bundle

    loaded = load_bundle(resolve_bundle(bundle))
    say(f"{loaded.folder}: unchanged since it was saved ({loaded.digest})")
    say(*(f"  {name}: {digest}" for name, digest in loaded.description.files.items()))


Documents = Annotated[
    Path,
    typer.Option("--documents", metavar="DIR", help="Folder with the texts that the pack cites."),
]


@packs.command(
    "show",
    epilog=examples(
        "diascope guidance show --verdict erythematous",
        "diascope guidance show --verdict unclear --blanches no --context dark_skin",
        "diascope guidance show --verdict hyperpigmented --format markdown > brown.md",
    ),
)
def show_guidance(
    verdict: Annotated[
        Verdict, typer.Option("--verdict", help="What the photograph says.", case_sensitive=False)
    ],
    blanches: Blanches = None,
    contexts: Contexts = None,
    form: Annotated[
        Literal["text", "markdown", "json"],
        typer.Option("--format", help="text is a panel on a terminal."),
    ] = "text",
    guidance: GuidanceFolder = None,
) -> None:
    """Print what the documents say for a verdict, each sentence with its sources."""
    from diascope.guidance import as_dict, as_markdown, as_text, combine, load_pack

    glass = combine(verdict, _answer(blanches))
    claims = load_pack(guidance).claims_for(glass.verdict, contexts or (), glass=glass.note)
    if form == "json":
        about = {"verdict": glass.verdict, "glass_test": glass.words}
        typer.echo(json.dumps({**about, **as_dict(claims)}, indent=2))
    elif form == "markdown":
        typer.echo(f"# {glass.verdict}\n\n{glass.words}\n\n{as_markdown(claims)}", nl=False)
    elif console().is_terminal:
        from diascope.cli.display import guidance_panel, intended_use

        console().print(guidance_panel(glass, claims), intended_use())
    else:
        typer.echo(f"{glass.verdict}: {glass.words}\n\n{as_text(claims)}", nl=False)


@packs.command(
    "coverage", epilog=examples("diascope guidance coverage --documents ../shared/documents")
)
def cover_guidance(documents: Documents, guidance: GuidanceFolder = None) -> None:
    """Print how much of the documents is used; fails where a sentence is unaccounted for."""
    from diascope.cli.display import coverage_table, print_wide
    from diascope.guidance import coverage, load_pack

    found = coverage(load_pack(guidance), documents)
    print_wide(coverage_table(found))
    say(
        # Rounded down: 100 % is all of them.
        f"{int(100 * found.share)} % accounted for",
        f"{int(100 * found.used_share)} % of the sentences about marks used",
        *(f"{each.document} {each.number}: {each.text}" for each in found.unaccounted),
    )
    if not found.complete:
        raise typer.Exit(1)


@packs.command(
    "verify",
    epilog=examples(
        "diascope guidance verify --documents ../shared/documents",
        "diascope guidance verify --guidance mine --documents mine/documents",
    ),
)
def verify_guidance(documents: Documents, guidance: GuidanceFolder = None) -> None:
    """Check that the cited sentences are those the claims were written from.

    Fails naming document, sentences and claims where a text has changed.
    """
    from diascope.guidance import load_pack, verify

    pack = load_pack(guidance)
    held = verify(pack, documents)
    say(
        f"{pack.name} pack {pack.version}: {len(pack.claims)} claims, {held.spans} spans of "
        f"{held.documents} documents and {held.rows} rows are as cited",
        f"{held.without_text} sources have no text to be held against",
    )


@packs.command("new", epilog=examples("diascope guidance new my-clinic"))
def new_guidance(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")
    ],
) -> None:
    """Write a commented starter pack: documents.toml, claims.toml and an example document."""
    from diascope.guidance import new_pack

    say(f"{new_pack(folder)}: edit it, then diascope guidance verify --guidance {folder}")
