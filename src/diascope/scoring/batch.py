"""The one function that every engine runs: a batch of inputs in, a batch of rows out."""

from collections.abc import Sequence

from diascope.errors import ImageError
from diascope.inference import Prediction, Predictor
from diascope.scoring.inputs import ScoreInput
from diascope.scoring.rows import Row, row_of

Answer = Prediction | ImageError
"""What there is to say of one input."""


class BatchScorer:
    """A predictor that answers inputs with rows.

    May be shared between threads and pickled to other processes: it carries the bundle as it was
    when its digests were checked, and opens its session where it arrives.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, batch: Sequence[ScoreInput]) -> list[Row]:
        """Exactly one row per input, in their order; a row does not depend on its neighbours."""
        model = self.predictor.name
        answers = zip(batch, self.answers(batch), strict=True)
        return [row_of(item, answer, model) for item, answer in answers]

    def answers(self, batch: Sequence[ScoreInput]) -> list[Answer]:
        """The prediction of each input, or why it could not be read."""
        return self.predictor.predict_batch(
            [item.file for item in batch],
            boxes=[item.box for item in batch],
            blanches=[item.blanches for item in batch],
            contexts=[item.contexts for item in batch],
            on_error="return",
        )
