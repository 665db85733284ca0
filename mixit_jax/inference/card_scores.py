"""Scores of an evaluation for the model card, with intervals over the songs."""

from pathlib import Path
from typing import Any

from mixit_jax.errors import UserError
from mixit_jax.evaluation.results import read_evaluation
from mixit_jax.evaluation.scores import SCORES


def card_scores(file: Path) -> dict[str, Any]:
  """Read what `mixit-jax evaluate --json` has written.

  Returns:
    `songs`, what was scored, and `rows` with score, stem, value, low and high in dB;
    the ends of the interval are None for a single song.

  Raises:
    UserError: the file is not such a document, or the evaluation is not finished.
  """
  try:
    evaluation = read_evaluation(file)
  except UserError as error:
    raise UserError(f"--scores={file}: {error}") from error
  if evaluation.unfinished:
    raise UserError(
      f"--scores={file}: {len(evaluation.unfinished)} songs are not scored yet; run the"
      " same `mixit-jax evaluate` again"
    )
  document = evaluation.to_dict()
  rows = []
  for score in SCORES:
    for stem, value in document["estimates"][score].items():
      if value is None:
        continue  # no song has this stem
      found, low, high = (
        None if number is None else round(float(number), 2)
        for number in (value, *document["intervals"][score][stem])
      )
      rows.append(
        {"score": score, "stem": stem, "value": found, "low": low, "high": high}
      )
  return {"songs": f"{len(evaluation.songs)} songs", "rows": rows}
