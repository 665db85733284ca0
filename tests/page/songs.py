"""Songs for pages."""

import json
import re
from pathlib import Path

import numpy as np

from mixit_jax.page.song_page import Captions, song_page


def write_page(
  folder, tracks, audio, rate, title="a song", block=30_011, captions=None
):
  """Write the page of a song whose audio [K, C, L] comes in blocks."""
  layout = rate, audio.shape[1], audio.shape[2]
  with song_page(folder, title, tracks, *layout) as page:
    page.captions = captions or Captions()
    for start in range(0, audio.shape[2], block):
      page.add(audio[..., start : start + block])


def data_of(folder: Path):
  """What a page says, as its script reads it."""
  text = (folder / "index.html").read_text("utf-8")
  (data,) = re.findall(r'<script type="application/json" id="song">(.*)</script>', text)
  return json.loads(data)


def noise(tracks, channels, length, seed=0):
  """Noise [K, C, L]."""
  random = np.random.default_rng(seed)
  return random.uniform(-0.5, 0.5, (tracks, channels, length)).astype(np.float32)
