"""Many pictures in, one true row each out: inputs -> rows -> file.

Rows keep the order of the inputs; a picture that cannot be read becomes a row that says so.
"""

from diascope.scoring.batch import BatchScorer
from diascope.scoring.engine import predict_inputs, score_inputs
from diascope.scoring.inputs import (
    PICTURE_SUFFIXES,
    ScoreInput,
    listed_inputs,
    parse_box,
    read_inputs,
)
from diascope.scoring.output import check_output, metadata, write_csv
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

__all__ = [
    "COLUMNS",
    "PICTURE_SUFFIXES",
    "SEPARATOR",
    "BatchScorer",
    "Row",
    "ScoreInput",
    "Status",
    "agrees",
    "check_output",
    "document_ids",
    "listed_inputs",
    "metadata",
    "parse_box",
    "predict_inputs",
    "read_inputs",
    "record_of",
    "row_of",
    "score_inputs",
    "write_csv",
]
