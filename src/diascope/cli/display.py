"""What the command line shows of a result: panels, tables and plain text."""

from collections import Counter
from collections.abc import Sequence
from textwrap import shorten

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from diascope.cli.terminal import console, printable
from diascope.errors import ImageError
from diascope.guidance import Claim, Coverage, GlassTest, SentenceUse, lay_out
from diascope.guidance.forms import SOURCES_HEADING
from diascope.guidance.schema import SetAsideReason
from diascope.inference import Prediction
from diascope.labels import INTENDED_USE, Verdict
from diascope.scoring import ScoreInput, agrees

_STYLES = {
    Verdict.ERYTHEMATOUS: "bold red",
    Verdict.HYPERPIGMENTED: "bold yellow",
    Verdict.UNCLEAR: "bold cyan",
    Verdict.NEITHER: "bold",
    Verdict.NOT_ASSESSABLE: "bold magenta",
}
_TABLE_CLAIMS = 2  # lines of guidance per picture in a table
_TABLE_WIDTH = 140  # columns where stdout is no terminal
_LINE = 76  # characters of a claim in a table


def prediction_panel(path: str, prediction: Prediction) -> Panel:
    """One picture: verdict, probabilities, why it declined, guidance and its sources."""
    return Panel(
        Group(_facts(path, prediction), Text(), *_sheet(prediction.guidance)),
        subtitle=Text(prediction.model_name),
        subtitle_align="right",
    )


def _facts(path: str, prediction: Prediction) -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("picture", printable(path))
    facts.add_row("verdict", _verdict(prediction.verdict, prediction.verdict.words))
    facts.add_row("probabilities", _probabilities(prediction))
    for words in prediction.reason_words:
        facts.add_row("reason", words)
    if prediction.blanches is not None:
        facts.add_row("glass test", prediction.glass_test.words)
    facts.add_row("skin tone", f"ITA about {prediction.ita_degrees:.0f} degrees (an estimate)")
    for note in prediction.notes:
        facts.add_row("note", str(note).replace("_", " "))
    return facts


def _verdict(verdict: Verdict, words: str = "") -> Text:
    shown = Text(verdict.value, style=_STYLES[verdict])
    return shown.append(f": {words}", style="default not bold") if words else shown


def _probabilities(prediction: Prediction) -> str:
    return ", ".join(f"{name} {p:.3f}" for name, p in prediction.probabilities.items())


def _sheet(claims: Sequence[Claim]) -> list[RenderableType]:
    """Claims under their headings, each with its sources' numbers, then the numbered sources."""
    sheet = lay_out(claims)
    lines: list[RenderableType] = []
    for section in sheet.sections:
        lines.append(Text(section.heading, style="bold"))
        lines += [_indented(f"{claim.text} {sheet.marks(claim)}") for claim in section.claims]
    lines += [Text(), Text(SOURCES_HEADING, style="bold")]
    lines += [
        _indented(f"[{each.number}] {each.citation}{each.places}", "dim")
        for each in sheet.references
    ]
    return lines


def _indented(text: str, style: str = "") -> RenderableType:
    return Padding(Text(text, style=style), (0, 0, 0, 2))


def guidance_panel(glass: GlassTest, claims: Sequence[Claim]) -> Panel:
    """What the documents say for a verdict."""
    parts = [_verdict(glass.verdict, glass.words), Text(), *_sheet(claims)]
    return Panel(Group(*parts), title="guidance", title_align="left")


def predictions_table(
    answers: Sequence[tuple[ScoreInput, Prediction | ImageError]], model: str
) -> Table:
    """One row per picture: truth where it is known, verdict, probability, guidance."""
    labelled = any(item.mark_type for item, _ in answers)
    table = Table(caption=_caption(answers, model), caption_justify="left", expand=True)
    table.add_column("picture", overflow="fold")
    if labelled:
        table.add_column("truth", overflow="fold")
    table.add_column("verdict", overflow="fold")
    table.add_column("P", justify="right", no_wrap=True)
    table.add_column("guidance, first lines [documents]", ratio=1)
    for item, answer in answers:
        name = Text(printable(item.path))
        truth = [item.mark_type or ""] if labelled else []
        table.add_row(name, *truth, *_table_cells(answer))
    return table


def _table_cells(answer: Prediction | ImageError) -> tuple[RenderableType, ...]:
    if isinstance(answer, ImageError):
        return Text("unreadable", style="bold"), "", f"{answer.reason}: {printable(answer.detail)}"
    lines = [
        f"{shorten(claim.text, _LINE, placeholder=' ...')} [{', '.join(claim.document_ids)}]"
        for claim in answer.guidance[:_TABLE_CLAIMS]
    ]
    return _verdict(answer.verdict), f"{_probability(answer):.3f}", "\n".join(lines)


def _probability(prediction: Prediction) -> float:
    """Of the verdict; of the likeliest mark type where the verdict names none."""
    by_name = {name.value: p for name, p in prediction.probabilities.items()}
    return by_name.get(prediction.verdict.value, max(by_name.values()))


def _caption(answers: Sequence[tuple[ScoreInput, Prediction | ImageError]], model: str) -> str:
    parts = [f"model {model}"]
    judged = [
        (item.mark_type, answer)
        for item, answer in answers
        if item.mark_type and not isinstance(answer, ImageError)
    ]
    if judged:
        right = sum(agrees(label, answer.verdict) for label, answer in judged)
        parts.append(f"{right} of {len(judged)} verdicts are right")
    parts.append(
        "P: calibrated probability of the verdict, or of the likeliest mark type where it has none"
    )
    return "; ".join(parts)


def print_wide(table: Table) -> None:
    """To standard output; wide where it is no terminal, so that lines stay whole."""
    out = console()
    if not out.is_terminal:
        out.width = max(out.width, _TABLE_WIDTH)
    out.print(table)


def figures_table(rows: Sequence[Sequence[str]]) -> Table:
    """Rows of text, the first the header."""
    head, *body = rows
    table = Table()
    for name in head:
        table.add_column(name, overflow="fold")
    for row in body:
        table.add_row(*row)
    return table


def coverage_table(found: Coverage) -> Table:
    """Sentences of each document: used by claims, and set aside by reason."""
    kinds = ["used", *SetAsideReason, "unaccounted"]
    counts = Counter((each.document, _use(each)) for each in found.sentences)
    table = Table("document", *(kind.replace("_", " ") for kind in kinds))
    for document in dict.fromkeys(each.document for each in found.sentences):
        table.add_row(document, *(str(counts[document, kind]) for kind in kinds))
    return table


def _use(sentence: SentenceUse) -> str:
    return "used" if sentence.claims else sentence.reason or "unaccounted"


def intended_use() -> Text:
    """The sentence that stands under every verdict."""
    return Text(INTENDED_USE, style="italic")


def document(markdown: str) -> RenderableType:
    """Markdown, set for a terminal; as it is where stdout is none."""
    # A tenth of the start-up time of every command.
    from rich.markdown import Markdown  # noqa: PLC0415

    return Markdown(markdown) if console().is_terminal else Text(markdown)
