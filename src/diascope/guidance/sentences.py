"""The committed sentence splitter: a locator is a range of its numbers, so it never changes.

A text is cut into blocks at blank lines. In a block, line breaks are spaces, and a sentence ends
at a full stop, question mark or exclamation mark, with the quotation marks and brackets closing
after it, when white space and then a capital, a digit, an opening quotation mark or a dash
follow. A title such as "Dr." ends none. A block's last words are a sentence with or without a
full stop: headings count. Numbers start at 1.
"""

import hashlib
import re
from collections.abc import Sequence

_BLANK_LINE = re.compile(r"\n\s*\n")
_END = re.compile(r"(?<=[.!?])([\"'”’)\]]*)\s+(?=[\"'“‘(\[—–-]*[A-Z0-9À-Þ])")
_TITLE = re.compile(r"\b(?:Dr|Mr|Mrs|Ms|Prof|St|e\.g|i\.e)\.$")


def split_sentences(text: str) -> tuple[str, ...]:
    """Sentences of a text in order, white space collapsed; index i is sentence number i + 1."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    blocks = (" ".join(block.split()) for block in _BLANK_LINE.split(text))
    return tuple(sentence for block in blocks if block for sentence in _split_block(block))


def span_digest(sentences: Sequence[str], first: int, last: int) -> str:
    """SHA-256 (64 hex digits) of sentences ``first`` to ``last``, joined by one space, in UTF-8."""
    return hashlib.sha256(" ".join(sentences[first - 1 : last]).encode()).hexdigest()


def _split_block(block: str) -> list[str]:
    sentences, start = [], 0
    for end in _END.finditer(block):
        if _TITLE.search(block[start : end.start()]):
            continue
        sentences.append(block[start : end.end(1)])
        start = end.end()
    return [*sentences, block[start:]]
