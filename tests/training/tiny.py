"""A model and a data set so small that a whole run takes seconds."""

import dataclasses
from pathlib import Path

import numpy as np

from mixit_jax.audio.files import write_audio
from mixit_jax.data.records import Manifest, Segment, encode_segment, write_shard
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  DataConfig,
  InitConfig,
  MeshConfig,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
  ValidConfig,
)

RATE = 2000
STEMS = ("bass", "drums", "vocals", "other")
MODEL = SeparatorConfig(
  num_blocks=2,
  embed_dim=8,
  ffn_dim=8,
  kernel_size=3,
  num_heads=2,
  num_groups=2,
  num_sources=6,
  sample_rate=RATE,
  n_fft=128,
  hop=32,
  bands=(8, 8, 16, 33),
)


def pretrain_config(shards: Path, **run) -> Config:
  """MixIT with six outputs; validation every 4 steps."""
  return Config(
    model=MODEL,
    data=DataConfig(shards=str(shards), seconds=0.5, threads=1, buffer=4),
    optimizer=OptimizerConfig(peak_rate=5e-3, warmup_steps=2),
    mesh=MeshConfig(fsdp=2, distributed="off"),
    valid=ValidConfig(
      examples=8, chunk_seconds=1.0, hop_seconds=0.5, scores_every_epochs=1
    ),
    run=RunConfig(
      **{"steps": 8, "steps_per_epoch": 4, "batch": 8, "log_every": 2, "save_every": 2}
      | run
    ),
  )


def finetune_config(shards: Path, **run) -> Config:
  """Four stems; otherwise as for pre-training."""
  config = pretrain_config(shards, **run)
  return dataclasses.replace(
    config,
    model=dataclasses.replace(MODEL, num_sources=4),
    objective=ObjectiveConfig(kind="stems"),
    init=InitConfig(select_seconds=0.5),
  )


def stem_audio(stem: int, song: int, seconds: float) -> np.ndarray:
  """A tone of the stem's register with the song's rhythm, float32 [2, L]."""
  t = np.arange(round(seconds * RATE)) / RATE
  tone = np.sin(2 * np.pi * (60 + 170 * stem + 7 * song) * t)
  tone *= 0.2 + np.exp(-5 * ((2 + stem + song) * t % 1))
  return (0.2 * np.stack([tone, (0.5 + 0.2 * stem) * tone])).astype(np.float32)


def write_music(folder: Path) -> Path:
  """Shards of mixes and stems, and two whole validation songs."""
  splits: dict = {"train": {}, "valid": {}}
  for split, songs in (("train", range(6)), ("valid", range(6, 9))):
    for source in ("mixture", *STEMS):
      records = [_record(source, song) for song in songs]
      file = f"{source}/{split}-00000-of-00001.arrayrecord"
      (folder / file).parent.mkdir(parents=True, exist_ok=True)
      count = write_shard(folder / file, records)
      splits[split][source] = [{"file": file, "records": count}]
  for song in (6, 7):
    for number, stem in enumerate(STEMS):
      path = folder / "valid" / f"song {song}" / f"{stem}.wav"
      write_audio(path, stem_audio(number, song, 1.7), RATE)
  Manifest(
    kind="fma",
    sample_rate=RATE,
    seconds=1.0,
    hop_seconds=0.5,
    num_channels=2,
    codec="flac",
    splits=splits,
  ).save(folder)
  return folder


def _record(source: str, song: int) -> bytes:
  numbers = range(len(STEMS)) if source == "mixture" else [STEMS.index(source)]
  audio = np.sum([stem_audio(n, song, 1.0) for n in numbers], axis=0)
  return encode_segment(Segment(audio, f"song {song}", 0.0), RATE)
