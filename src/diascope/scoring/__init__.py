"""Many pictures in, one true row each out: inputs -> rows -> file.

Rows keep the order of the inputs; a picture that cannot be read becomes a row that says so.
"""

from diascope.scoring.api import Rows, score
from diascope.scoring.batch import BatchScorer
from diascope.scoring.cluster import Cluster
from diascope.scoring.engine import predict_inputs, score_inputs
from diascope.scoring.inputs import (
    listed_inputs,
    no_pictures,
    read_inputs,
    source_inputs,
)
from diascope.scoring.manifest import parse_box
from diascope.scoring.output import FORMATS, format_of, metadata
from diascope.scoring.places import ScoreInput
from diascope.scoring.rows import (
    COLUMNS,
    SEPARATOR,
    Row,
    Status,
    agrees,
    document_ids,
    record_of,
    row_of,
)
from diascope.scoring.run import PART_ROWS, Run, Summary, stream
from diascope.scoring.spool import SpooledInputs

__all__ = [
    "COLUMNS",
    "FORMATS",
    "PART_ROWS",
    "SEPARATOR",
    "BatchScorer",
    "Cluster",
    "Row",
    "Rows",
    "Run",
    "ScoreInput",
    "SpooledInputs",
    "Status",
    "Summary",
    "agrees",
    "document_ids",
    "format_of",
    "listed_inputs",
    "metadata",
    "no_pictures",
    "parse_box",
    "predict_inputs",
    "read_inputs",
    "record_of",
    "row_of",
    "score",
    "score_inputs",
    "source_inputs",
    "stream",
]
