"""Songs with references, and estimates of them, in files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mixit_jax.audio.files import write_audio

STEMS = ("bass", "drums", "vocals", "other")
RATE = 8000


class Songs:
  """A folder of songs and one of estimates."""

  def __init__(self, root: Path):
    self.songs, self.estimates = root / "songs", root / "estimates"

  def add(
    self,
    name: str,
    seed: int = 0,
    length: int = 3 * RATE + 77,
    error: float = 0.1,
    mixture: Callable[[np.ndarray], np.ndarray] | None = None,
    gains: tuple[float, ...] = (1, 1, 1, 1),
  ) -> tuple[np.ndarray, np.ndarray]:
    """Write a song; return its references and estimates [4, 2, L]."""
    random = np.random.default_rng(seed)
    references = random.uniform(-0.2, 0.2, (4, 2, length)).astype(np.float32)
    references *= np.array(gains, np.float32)[:, None, None]
    noise = random.uniform(-0.2, 0.2, references.shape)
    estimates = (references + error * noise).astype(np.float32)
    for stem, reference, estimate in zip(STEMS, references, estimates, strict=True):
      write_audio(self.songs / name / f"{stem}.wav", reference, RATE)
      write_audio(self.estimates / name / f"{stem}.wav", estimate, RATE)
    if mixture is not None:
      mixed = mixture(references.sum(axis=0)).astype(np.float32)
      write_audio(self.songs / name / "mixture.wav", mixed, RATE)
    return references, estimates

  @property
  def flags(self) -> list[str]:
    """The folders as flags of the command."""
    return [f"--songs={self.songs}", f"--estimates={self.estimates}"]
