"""Configuration of a run: frozen dataclasses, read from and written to plain values.

An unknown key is an error that names its nearest neighbor, an impossible value an
error that names the key. The files in `configs/` build a `Config` and hand it to the
command line as an `ml_collections.ConfigDict`, whose keys can be overridden there.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from mixit_jax.separator.bs_locoformer import SeparatorConfig
from mixit_jax.training.values import build, require, unknown_key

if TYPE_CHECKING:
  import ml_collections


def _positive(section: str, config: Any, *names: str) -> None:
  for name in names:
    value = getattr(config, name)
    require(value > 0, f"{section}.{name} must be positive, found {value}")


def _not_negative(section: str, config: Any, *names: str) -> None:
  for name in names:
    value = getattr(config, name)
    require(value >= 0, f"{section}.{name} must not be negative, found {value}")


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Where the examples come from and how they are drawn.

  Attributes:
    shards: folder written by `data_prep.fma` (MixIT) or `data_prep.musdb` (stems).
    songs: folder of whole validation songs; empty means `<shards>/valid`.
    stems: names of the stems, in the order of the model's outputs.
    seconds: length of a training example.
    drop: probability that a stem is left out of a dynamic mix (paper 4.3).
    gain_db: gains of dynamic mixing are uniform in +- this many dB (paper 4.3).
    seed: seed of the order of examples and of every draw in them.
    threads: reading and decoding threads per host.
    buffer: examples that are read ahead per host.
  """

  shards: str = ""
  songs: str = ""
  stems: tuple[str, ...] = ("bass", "drums", "vocals", "other")
  seconds: float = 6.0
  drop: float = 0.05
  gain_db: float = 10.0
  seed: int = 0
  threads: int = 4
  buffer: int = 16

  def __post_init__(self) -> None:
    _positive("data", self, "seconds", "threads", "buffer")
    _not_negative("data", self, "gain_db", "seed")
    require(
      self.buffer >= self.threads,
      f"data.buffer = {self.buffer} must hold an example for each of data.threads = "
      f"{self.threads}",
    )
    require(0 <= self.drop < 1, f"data.drop must be in [0, 1), found {self.drop}")
    require(
      len(set(self.stems)) == len(self.stems) > 0,
      f"data.stems must be different names, found {self.stems}",
    )


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """What is minimized.

  Attributes:
    kind: "mixit" (pre-training on unlabeled mixtures) or "stems" (supervised).
    assignment: "efficient" (least squares, paper eq. 3) or "exact" (all 2^N, eq. 2).
    tau: soft threshold of the SNR loss; 1e-3 clamps it at 30 dB (eq. 4).
  """

  kind: Literal["mixit", "stems"] = "mixit"
  assignment: Literal["efficient", "exact"] = "efficient"
  tau: float = 1e-3

  def __post_init__(self) -> None:
    _positive("objective", self, "tau")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW, warm-up, decay and clipping (paper 4.3).

  Attributes:
    peak_rate: learning rate after the warm-up.
    warmup_steps: steps of linear warm-up from 0.
    constant_epochs: epochs, counted from the start, before the rate decays.
    decay: factor on the rate at each decay.
    decay_epochs: epochs from one decay to the next.
    weight_decay: decoupled weight decay, on every parameter.
    b1: decay of the mean of gradients.
    b2: decay of the mean of squared gradients.
    clip_norm: largest global L2 norm of the gradient.
    ema: decay of the running mean of the parameters; 0 keeps none.
  """

  peak_rate: float = 1e-3
  warmup_steps: int = 5000
  constant_epochs: int = 0
  decay: float = 0.965
  decay_epochs: int = 1
  weight_decay: float = 1e-2
  b1: float = 0.9
  b2: float = 0.999
  clip_norm: float = 5.0
  ema: float = 0.0

  def __post_init__(self) -> None:
    _positive("optimizer", self, "peak_rate", "decay", "decay_epochs", "clip_norm")
    require(
      self.decay <= 1,
      f"optimizer.decay = {self.decay:g} would raise the learning rate; at most 1",
    )
    _not_negative("optimizer", self, "warmup_steps", "constant_epochs", "weight_decay")
    for name in ("b1", "b2", "ema"):
      value = getattr(self, name)
      require(0 <= value < 1, f"optimizer.{name} must be in [0, 1), found {value}")


@dataclasses.dataclass(frozen=True)
class InitConfig:
  """Where the parameters start.

  Attributes:
    run: a run or exported weights to start from; empty starts from random ones.
    weights: which weights of that run: "mean" (of the best checkpoints), "best",
      "latest", "ema", or a step.
    freeze: "none", or "separator" to train only band split and decoder (paper 4.5).
    select_seconds: length of the chunks on which outputs are matched with stems
      when the run has more outputs than `model.num_sources` (paper 4.3).
  """

  run: str = ""
  weights: str = "mean"
  freeze: Literal["none", "separator"] = "none"
  select_seconds: float = 6.0

  def __post_init__(self) -> None:
    _positive("init", self, "select_seconds")


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How the devices are arranged.

  Attributes:
    fsdp: devices over which parameters and optimizer state are divided; the others
      hold copies. The batch is divided over all devices in any case.
    distributed: "auto" connects the processes when a cluster is detected, "on"
      demands one, "off" never connects.
  """

  fsdp: int = 1
  distributed: Literal["auto", "on", "off"] = "auto"

  def __post_init__(self) -> None:
    _positive("mesh", self, "fsdp")


@dataclasses.dataclass(frozen=True)
class ValidConfig:
  """Validation.

  Attributes:
    every_epochs: epochs between two validations; each one saves a checkpoint.
    examples: validation mixtures of mixtures of pre-training.
    scores_every_epochs: epochs between two scorings (uSDR, cSDR) of whole validation
      songs in fine-tuning; 0 never does.
    chunk_seconds: length of the chunks of whole songs (paper 4.3).
    hop_seconds: distance of the chunks.
    media: validation examples whose audio and spectrograms are logged.
  """

  every_epochs: int = 1
  examples: int = 512
  scores_every_epochs: int = 10
  chunk_seconds: float = 12.0
  hop_seconds: float = 6.0
  media: int = 1

  def __post_init__(self) -> None:
    _positive("valid", self, "every_epochs", "examples", "chunk_seconds", "hop_seconds")
    _not_negative("valid", self, "scores_every_epochs", "media")


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """Length, batch, randomness and habits of the run.

  Attributes:
    steps: optimizer steps in all.
    steps_per_epoch: what this run calls an epoch (paper 4.3).
    batch: examples per step over all devices of all hosts (global batch).
    accumulation: parts into which a step divides the batch to save memory.
    seed: seed of initialization and dropout.
    log_every: steps between two lines of metrics.
    save_every: steps between two checkpoints; those of validations come on top.
    keep_latest: latest checkpoints that are kept.
    keep_best: best checkpoints (by validation loss) that are kept and averaged.
    max_skips: steps in a row with a non-finite loss or gradient before it stops.
    watchdog_seconds: a step that takes longer is reported with the host that waits.
    profile: "a:b" writes a profile of steps a to b; empty writes none.
    allow_changes: keys that may differ from the configuration stored in the workdir.
  """

  steps: int = 150_000
  steps_per_epoch: int = 1000
  batch: int = 64
  accumulation: int = 1
  seed: int = 0
  log_every: int = 50
  save_every: int = 1000
  keep_latest: int = 2
  keep_best: int = 5
  max_skips: int = 10
  watchdog_seconds: float = 600.0
  profile: str = ""
  allow_changes: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    _positive(
      "run",
      self,
      "steps",
      "steps_per_epoch",
      "batch",
      "accumulation",
      "log_every",
      "save_every",
      "keep_latest",
      "keep_best",
      "max_skips",
      "watchdog_seconds",
    )
    _not_negative("run", self, "seed")
    require(
      self.batch % self.accumulation == 0,
      f"run.accumulation = {self.accumulation} does not divide run.batch = "
      f"{self.batch}; choose a divisor",
    )
    if self.profile:
      self.profile_steps()

  def profile_steps(self) -> tuple[int, int] | None:
    """First and last step of the profile, or None."""
    if not self.profile:
      return None
    first, _, last = self.profile.partition(":")
    require(
      first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last),
      'run.profile must be "first:last" with 0 < first <= last, found '
      f'"{self.profile}"',
    )
    return int(first), int(last)


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything that defines a run."""

  model: SeparatorConfig
  objective: ObjectiveConfig = ObjectiveConfig()
  data: DataConfig = DataConfig()
  optimizer: OptimizerConfig = OptimizerConfig()
  init: InitConfig = InitConfig()
  mesh: MeshConfig = MeshConfig()
  valid: ValidConfig = ValidConfig()
  run: RunConfig = RunConfig()

  def __post_init__(self) -> None:
    model, valid = self.model, self.valid
    for key, seconds in (
      ("data.seconds", self.data.seconds),
      ("valid.chunk_seconds", valid.chunk_seconds),
      ("init.select_seconds", self.init.select_seconds),
    ):
      samples = round(seconds * model.sample_rate)
      require(
        samples > model.n_fft,
        f"{key} = {seconds:g} is {samples} samples; it must exceed one STFT window "
        f"(model.n_fft = {model.n_fft})",
      )
    require(
      valid.hop_seconds <= valid.chunk_seconds,
      f"valid.hop_seconds = {valid.hop_seconds:g} must not exceed valid.chunk_seconds "
      f"= {valid.chunk_seconds:g}, or samples between two chunks would be lost",
    )
    require(
      round(valid.hop_seconds * model.sample_rate) > 0,
      f"valid.hop_seconds = {valid.hop_seconds:g} is shorter than a sample",
    )
    if self.objective.kind == "stems":
      require(
        len(self.data.stems) == self.model.num_sources,
        f"model.num_sources = {self.model.num_sources} but data.stems names "
        f"{len(self.data.stems)} stems: {', '.join(self.data.stems)}",
      )
    else:
      require(
        self.init.freeze == "none",
        'init.freeze = "separator" is a way of fine-tuning; it needs objective.kind = '
        '"stems"',
      )
      require(
        self.objective.assignment == "efficient" or self.model.num_sources <= 16,
        f"the exact assignment tries 2^{self.model.num_sources} assignments for "
        f"model.num_sources = {self.model.num_sources}; at most 16 sources, or "
        'objective.assignment = "efficient"',
      )

  @property
  def example_samples(self) -> int:
    """Length L of a training example in samples."""
    return round(self.data.seconds * self.model.sample_rate)

  @property
  def frozen(self) -> tuple[str, ...]:
    """Top-level parameter groups that do not train."""
    return ("blocks",) if self.init.freeze == "separator" else ()

  def to_dict(self) -> dict[str, Any]:
    """Plain nested values, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> Config:
    """Configuration from nested values.

    Raises:
      ConfigError: unknown key (with its nearest neighbor), wrong type or value.
    """
    sections = {field.name: field for field in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    for name in values:
      require(name in sections, unknown_key(name, sections, ""))
    require("model" in values, "the configuration has no section `model`")
    return cls(
      **{name: build(hints[name], value, name) for name, value in values.items()}
    )


def config_dict(config: Config) -> ml_collections.ConfigDict:
  """The configuration as the `ConfigDict` that flags override."""
  import ml_collections  # GPU hosts that only benchmark may lack it

  return ml_collections.ConfigDict(dataclasses.asdict(config))
