"""Published data sets, and pictures of your own, read into one shape; one module per set."""

from diascope.errors import SourceError
from diascope.sources import (
    ddi,
    dermnet,
    fitzpatrick17k,
    folders,
    ham10000,
    pad_ufes_20,
    scin,
    sd198,
)
from diascope.sources.source import Access, Drop, Source, SourceRow

__all__ = ["SOURCES", "Access", "Drop", "Source", "SourceRow", "source_named"]

SOURCES: tuple[Source, ...] = (
    scin.SOURCE,
    fitzpatrick17k.SOURCE,
    ddi.SOURCE,
    pad_ufes_20.SOURCE,
    ham10000.SOURCE,
    dermnet.SOURCE,
    sd198.SOURCE,
    folders.SOURCE,
)


def source_named(name: str) -> Source:
    """Find a data set by its name.

    Raises:
        SourceError: there is none of that name.
    """
    for source in SOURCES:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in SOURCES)
    raise SourceError(f"{name}: no data set of that name; known are {known}")
