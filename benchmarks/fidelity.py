"""Distance of every stage to the reference vectors.

    python -m benchmarks.fidelity

prints a Markdown table: the measured error of each stage, in float32 on the CPU, and
the tolerance that the tests hold it to. The vectors in tests/fixtures are numbers
that the paper's implementation gave in float64. PyTorch is not needed.
"""

import dataclasses
import json
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mixit_jax.audio.activity import active_segments
from mixit_jax.evaluation.channels import match_channels
from mixit_jax.evaluation.scores import csdr, framewise_sdr, usdr
from mixit_jax.objectives.mixit import (
  assign_exact,
  assign_least_squares,
  mixit_loss,
  remix,
)
from mixit_jax.objectives.snr import inactive_snr_loss, thresholded_snr_loss
from mixit_jax.separator import separate
from mixit_jax.separator.bs_locoformer import BandSplit, MaskDecoder, TFLocoformerBlock
from mixit_jax.separator.chunked import separate_long
from mixit_jax.separator.spectral import istft, level, stft
from mixit_jax.stems import STEMS
from mixit_jax.weights import from_torch, to_torch

VECTORS = Path(__file__).parent.parent / "tests/fixtures"


class Row(NamedTuple):
  """One line of the table.

  Attributes:
    stage: what was computed.
    error: its distance to the reference.
    measure: what distance that is.
    tolerance: the largest distance that is accepted.
  """

  stage: str
  error: float
  measure: str
  tolerance: float


RELATIVE, LARGEST = "relative L2", "largest difference"
DECIBELS, COUNT = "largest difference, dB", "values that differ"


def measure() -> Iterator[Row]:
  """Measure all stages."""
  yield from separator_rows()
  yield from loss_rows()
  yield from selection_rows()
  yield from score_rows()


def separator_rows() -> Iterator[Row]:
  """Measure the stages of the model, each on the reference of the previous stage."""
  weights = reference_weights()
  config, params = from_torch(weights, n_heads=2, n_groups=2)
  stages = np.load(VECTORS / "separator.npz")

  def features(name: str) -> np.ndarray:
    return stages[name].transpose(0, 2, 3, 1)  # [B, D, T, K] to [B, T, K, D]

  mixture, scale, estimates = (stages[k] for k in ("mixture", "scale", "estimates"))
  normalized = stages["spectrogram_real"] + 1j * stages["spectrogram_imag"]
  normalized = normalized.transpose(0, 2, 3, 1)  # [B, F, C, T] to [B, C, T, F]
  masks = stages["mask_real"] + 1j * stages["mask_imag"]

  spectrogram = stft(mixture, config.n_fft, config.hop, drop_last=False)
  found: Any = level(spectrogram)
  yield Row("level", relative(found, scale), RELATIVE, 1e-5)
  found = spectrogram[:, :, :-1] / scale[:, :, None, None]
  yield Row("spectrogram", relative(found, normalized), RELATIVE, 1e-5)
  found = jax.jit(BandSplit(config).apply)({"params": params["band_split"]}, normalized)
  yield Row("band split", relative(found, features("band_split")), RELATIVE, 1e-5)

  block = TFLocoformerBlock(config)
  apply = jax.jit(lambda weights, x: block.apply({"params": weights}, x, 0, None)[0])
  before = "band_split"
  for index in range(config.num_blocks):
    own = jax.tree.map(lambda leaf, i=index: leaf[i], params["blocks"])
    found, name = apply(own, features(before)), f"block_{index}"
    error = relative(found, features(name))
    yield Row(f"TF-Locoformer block {index + 1}", error, RELATIVE, 1e-5)
    before = name

  decode = jax.jit(MaskDecoder(config).apply)
  found = decode({"params": params["decoder"]}, features(before))
  yield Row("masks", relative(found, masks), RELATIVE, 1e-5)
  length = mixture.shape[-1]
  found = istft(masks * normalized[:, None], config.n_fft, config.hop, length)
  found = found * scale[:, None, :, None]
  yield Row("inverse transform", relative(found, estimates), RELATIVE, 1e-5)
  compiled = jax.jit(separate, static_argnums=0)
  found = compiled(config, params, mixture)
  error = relative(found, estimates)
  yield Row("estimates, waveform to waveform", error, RELATIVE, 1e-4)
  half = dataclasses.replace(config, dtype="bfloat16")
  found = compiled(half, params, mixture)
  yield Row("the same in bfloat16", relative(found, estimates), RELATIVE, 3e-2)

  back = to_torch(config, params)
  changed = sum(not np.array_equal(back[key], weights[key]) for key in weights)
  yield Row("PyTorch weights there and back", changed, "tensors that differ", 0)


def loss_rows() -> Iterator[Row]:
  """Measure losses and assignments."""
  vectors = np.load(VECTORS / "losses.npz")
  references, estimates = vectors["stem_references"], vectors["stem_estimates"]
  found: Any = thresholded_snr_loss(references[:1, :1], estimates[:1, :1])
  error = largest(found, vectors["thresholded_snr_loss"])
  yield Row("thresholded SNR loss", error, DECIBELS, 1e-4)
  error = largest(
    inactive_snr_loss(references, estimates), vectors["inactive_snr_loss"]
  )
  yield Row("fine-tuning loss", error, DECIBELS, 1e-4)

  outputs, mixtures = vectors["mixit_estimates"], vectors["mixit_mixtures"]
  matrix = assign_least_squares(outputs, mixtures, channels="left")
  different = np.sum(matrix != vectors["efficient_mix_matrix"])
  yield Row("efficient assignment, left channel", different, COUNT, 0)
  found = np.mean(mixit_loss(remix(outputs, matrix), mixtures))
  error = largest(found, vectors["efficient_loss"])
  yield Row("MixIT loss, efficient assignment", error, DECIBELS, 1e-4)
  matrix = assign_exact(outputs, mixtures)
  different = np.sum(matrix != vectors["exact_mix_matrix"])
  yield Row("exact assignment", different, COUNT, 0)
  found = mixit_loss(remix(outputs, matrix), mixtures)
  error = largest(found, vectors["exact_loss"])
  yield Row("MixIT loss, exact assignment", error, DECIBELS, 1e-4)


def selection_rows() -> Iterator[Row]:
  """Measure long recordings, channel selection and source activity."""
  vectors = np.load(VECTORS / "overlap_add.npz")
  found = separate_long(
    _stand_in, vectors["mixture"], int(vectors["segment"]), int(vectors["hop"])
  )
  error = largest(found[..., ::37], vectors["estimates_every_37"])
  yield Row("overlap-add of long recordings", error, LARGEST, 1e-5)

  vectors = np.load(VECTORS / "channel_selection.npz")
  matches = np.stack(
    [
      match_channels(references, estimates, "left").outputs
      for references, estimates in zip(
        vectors["references"], vectors["estimates"], strict=True
      )
    ]
  )
  different = sum(
    np.sum(votes[votes >= 0] != vectors[f"votes_{stem}"])
    for stem, votes in zip(STEMS, matches.T, strict=True)
  )
  yield Row("channel votes, left channel", different, COUNT, 0)

  vectors = np.load(VECTORS / "source_activity.npz")
  sample_rate = int(vectors["segment"]) // 8
  starts, threshold = active_segments(vectors["audio"].T, sample_rate)
  kept = set((vectors["kept"] * 4 * sample_rate).tolist())
  yield Row("source activity, segments", len(kept ^ set(starts)), COUNT, 0)
  error = largest(threshold, vectors["threshold"])
  yield Row("source activity, threshold", error, LARGEST, 0)


def score_rows() -> Iterator[Row]:
  """Measure scores; NaN must be in the same frames."""
  vectors = np.load(VECTORS / "metrics.npz")
  true, found = (vectors[k].transpose(0, 2, 1) for k in ("references", "estimates"))
  rate = int(vectors["sample_rate"])
  for stage, scores, name in (
    ("SDR of 1-s frames", framewise_sdr(true, found, rate), "museval_framewise_sdr"),
    ("cSDR", csdr(true, found, rate), "csdr"),
    ("uSDR", usdr(true, found), "usdr_mdx"),
    ("uSDR per channel", usdr(true, found, "per_channel"), "usdr_per_channel"),
  ):
    yield Row(stage, largest(scores, vectors[name]), DECIBELS, 1e-6)


def reference_weights() -> dict[str, np.ndarray]:
  """Return the state dict of the reference model, float32."""
  formula = runpy.run_path(str(VECTORS / "formula_weights.py"))["formula_weight"]
  shapes = json.loads((VECTORS / "separator.json").read_text())["state_dict"]
  return {
    key: formula(key, tuple(shape)).astype(np.float32) for key, shape in shapes.items()
  }


def relative(found: Any, expected: Any) -> float:
  """Return the norm of the difference over the norm of the reference."""
  found, expected = np.asarray(found), np.asarray(expected)
  return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def largest(found: Any, expected: Any) -> float:
  """Return the largest difference, infinite where only one of both is NaN."""
  found, expected = np.asarray(found), np.asarray(expected)
  if not np.array_equal(np.isnan(found), np.isnan(expected)):
    return float("inf")
  return float(np.nanmax(np.abs(found - expected)))


def _stand_in(chunks: np.ndarray) -> np.ndarray:
  """Compute what replaced the network in the vectors of the overlap-add."""
  rms = np.sqrt(np.mean(chunks**2, -1, keepdims=True))
  peak = np.abs(chunks).max(-1, keepdims=True)
  return np.stack([chunks / (1 + rms), chunks * peak], 1)


def main() -> None:
  """Print the table."""
  jax.config.update("jax_platforms", "cpu")
  print("| stage | error | measure | tolerance |\n|---|---|---|---|")
  for row in measure():
    error, tolerance = (
      f"{value:.1e}" if value else "0" for value in (row.error, row.tolerance)
    )
    print(f"| {row.stage} | {error} | {row.measure} | {tolerance} |", flush=True)


if __name__ == "__main__":
  main()
