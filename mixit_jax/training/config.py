"""Configuration of a run: frozen dataclasses, read from and written to plain values.

Each field states its meaning, its range and whether it may change when a run is
started again (`free`): `--help` and the checks of a restart read it from there. The
files in `configs/` return a `Config`, whose keys can be overridden on the command line.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from mixit_jax.checked import (
  Checked,
  Rules,
  build,
  flatten,
  require,
  rules_of,
  setting,
  unknown_key,
)
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.stems import name_problem

# Mixtures of mixtures of up to this many outputs can be assigned exactly.
_MOST_EXACT_SOURCES = 16


@dataclass(frozen=True)
class DataConfig(Checked):
  """Where the examples come from and how they are drawn."""

  section = "data"
  shards: str = setting(
    "folder written by data_prep.fma (MixIT) or data_prep.musdb (stems); several are "
    "separated by commas and mixed",
    "",
    free=True,
  )
  weights: tuple[float, ...] = setting(
    "shares of the examples from several data.shards; empty: by their hours", ()
  )
  songs: str = setting(
    "folder of whole validation songs; empty means SHARDS/valid", "", free=True
  )
  stems: tuple[str, ...] = setting(
    "names of the stems, in the order of the model's outputs; empty: those of the data",
    (),
  )
  seconds: float = setting("length of a training example", 6.0, above=0)
  drop: float = setting(
    "probability that a stem is left out of a dynamic mix (paper 4.3)",
    0.05,
    least=0,
    below=1,
  )
  gain_db: float = setting(
    "gains of dynamic mixing are uniform in +- this many dB (paper 4.3)", 10.0, least=0
  )
  seed: int = setting("of the order of examples and of every draw in them", 0, least=0)
  max_damaged: float = setting(
    "share of the records that may be damaged: another one is drawn in place of each; "
    "0 ends the run at the first",
    0.01,
    least=0,
    below=1,
    free=True,
  )
  threads: int = setting(
    "reading and decoding threads of each host", 4, least=1, free=True
  )
  buffer: int = setting("examples that each host reads ahead", 16, least=1, free=True)

  def __post_init__(self) -> None:
    super().__post_init__()
    require(
      self.buffer >= self.threads,
      f"data.buffer = {self.buffer} must hold an example for each of data.threads = "
      f"{self.threads}",
    )
    folders = [part.strip() for part in self.shards.split(",")]
    require(
      len(set(folders)) == len(folders) and (all(folders) or folders == [""]),
      f"data.shards = {self.shards} must name different folders",
    )
    require(
      not self.weights or len(self.weights) == len(folders),
      f"data.weights holds {len(self.weights)} numbers for {len(folders)} folders in "
      "data.shards; give one for each",
    )
    require(
      all(0 < weight < math.inf for weight in self.weights),
      f"data.weights must be positive, found {', '.join(map(str, self.weights))}",
    )
    problem = name_problem(self.stems)
    require(problem is None, f"data.stems={','.join(self.stems)}: {problem}")

  @property
  def folders(self) -> tuple[str, ...]:
    """The folders of `shards`."""
    return tuple(part.strip() for part in self.shards.split(",") if part.strip())


@dataclass(frozen=True)
class ObjectiveConfig(Checked):
  """What is minimized."""

  section = "objective"
  kind: Literal["mixit", "stems"] = setting(
    "mixit: pre-training on unlabeled mixtures; stems: supervised", "mixit"
  )
  assignment: Literal["efficient", "exact"] = setting(
    "efficient: least squares (paper eq. 3); exact: all 2^N (eq. 2)", "efficient"
  )
  tau: float = setting(
    "soft threshold of the SNR loss; 1e-3 clamps it at 30 dB (eq. 4)", 1e-3, above=0
  )


@dataclass(frozen=True)
class OptimizerConfig(Checked):
  """AdamW, warm-up, decay and clipping (paper 4.3)."""

  section = "optimizer"
  peak_rate: float = setting("learning rate after the warm-up", 1e-3, above=0)
  warmup_steps: int = setting("steps of linear warm-up from 0", 5000, least=0)
  constant_epochs: int = setting(
    "epochs, counted from the start, before the rate decays", 0, least=0
  )
  decay: float = setting("factor on the rate at each decay", 0.965, above=0, most=1)
  decay_epochs: int = setting("epochs from one decay to the next", 1, least=1)
  weight_decay: float = setting(
    "decoupled weight decay, on every parameter", 1e-2, least=0
  )
  b1: float = setting("decay of the mean of gradients", 0.9, least=0, below=1)
  b2: float = setting("decay of the mean of squared gradients", 0.999, least=0, below=1)
  clip_norm: float = setting("largest global L2 norm of the gradient", 5.0, above=0)
  ema: float = setting(
    "decay of the running mean of the parameters; 0 keeps none", 0.0, least=0, below=1
  )


@dataclass(frozen=True)
class InitConfig(Checked):
  """Where the parameters start."""

  section = "init"
  run: str = setting("run or folder of weights to start from; empty: random ones", "")
  weights: str = setting(
    "which weights of that run: mean (of the best checkpoints), best, latest, ema or "
    "a step",
    "mean",
  )
  freeze: Literal["none", "blocks"] = setting(
    "blocks: train only band split and decoder (paper 4.5)", "none"
  )
  decoder: Literal["keep", "random"] = setting(
    "keep: that of the outputs, which are selected as stems (paper 4.3) or, with "
    "model.num_masks, all summed up to stems; random: a new one, so that nothing is "
    "selected and the run may have any number of outputs",
    "keep",
  )
  optimizer: Literal["new", "keep"] = setting(
    "keep: begin with the moments that Adam has at the checkpoint of `init.weights`, "
    "of a mean at its last; the learning rate begins anew",
    "new",
  )
  select_seconds: float = setting(
    "length of the chunks on which outputs are matched with stems, where the run has "
    "more outputs than stems (paper 4.3)",
    6.0,
    above=0,
  )


@dataclass(frozen=True)
class MeshConfig(Checked):
  """How the devices are arranged."""

  section = "mesh"
  fsdp: int = setting(
    "devices over which parameters and optimizer state are divided; the others hold "
    "copies, the batch is divided over all",
    1,
    least=1,
    free=True,
  )
  distributed: Literal["auto", "on", "off"] = setting(
    "auto: connect the processes of a cluster that is detected; on: demand one",
    "auto",
    free=True,
  )


@dataclass(frozen=True)
class ValidConfig(Checked):
  """Validation."""

  section = "valid"
  every_epochs: int = setting(
    "epochs between two validations; each saves a checkpoint", 1, least=1
  )
  examples: int = setting(
    "validation mixtures of mixtures in pre-training", 512, least=1
  )
  scores_every_epochs: int = setting(
    "epochs between two scorings (uSDR, cSDR) of whole songs in fine-tuning; 0: only "
    "at the end",
    10,
    least=0,
    free=True,
  )
  chunk_seconds: float = setting(
    "length of the chunks of whole songs (paper 4.3)", 12.0, above=0
  )
  hop_seconds: float = setting("distance of these chunks", 6.0, above=0)
  media: int = setting(
    "validation examples whose audio and spectrograms are logged", 1, least=0, free=True
  )
  media_every_epochs: int = setting(
    "epochs between two such logs, which take most of the disk space of TensorBoard",
    10,
    least=1,
    free=True,
  )


@dataclass(frozen=True)
class RunConfig(Checked):
  """Length, batch, randomness and habits of the run."""

  section = "run"
  steps: int = setting("optimizer steps in all", 150_000, least=1, free=True)
  steps_per_epoch: int = setting(
    "what this run calls an epoch (paper 4.3)", 1000, least=1
  )
  batch: int = setting("examples per step over all devices of all hosts", 64, least=1)
  accumulation: int = setting(
    "parts into which a step divides the batch to save memory; 0: as few as the memory "
    "of the devices demands",
    0,
    least=0,
    free=True,
  )
  seed: int = setting("of initialization and dropout", 0, least=0)
  log_every: int = setting("steps between two lines of metrics", 50, least=1, free=True)
  save_every: int = setting(
    "steps between two checkpoints; those of validations come on top",
    1000,
    least=1,
    free=True,
  )
  keep_latest: int = setting("latest checkpoints that are kept", 2, least=1, free=True)
  keep_best: int = setting(
    "best checkpoints, by validation loss, that are kept and averaged",
    5,
    least=1,
    free=True,
  )
  patience: int = setting(
    "validations in a row without a better loss before the run ends; 0: never",
    0,
    least=0,
    free=True,
  )
  max_skips: int = setting(
    "steps in a row with a non-finite loss or gradient before it stops",
    10,
    least=1,
    free=True,
  )
  watchdog_seconds: float = setting(
    "a longer step is reported with the host that waits", 600.0, above=0, free=True
  )
  profile: str = setting('"a:b" writes a profile of steps a to b', "", free=True)
  allow_changes: tuple[str, ...] = setting(
    "keys that may differ from those stored in the workdir", (), free=True
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    require(
      self.accumulation == 0 or self.batch % self.accumulation == 0,
      f"run.accumulation = {self.accumulation} does not divide run.batch = "
      f"{self.batch}; choose a divisor",
    )
    self.profile_steps()

  @property
  def parts(self) -> int:
    """Parts of a batch; one where their number is not settled."""
    return max(1, self.accumulation)

  def profile_steps(self) -> tuple[int, int] | None:
    """Return first and last step of the profile, or None."""
    if not self.profile:
      return None
    first, _, last = self.profile.partition(":")
    require(
      first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last),
      'run.profile must be "first:last" with 0 < first <= last, found '
      f'"{self.profile}"',
    )
    return int(first), int(last)


@dataclass(frozen=True)
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
    """Check what several sections must agree on."""
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
    require(
      self.init.decoder == "keep" or bool(self.init.run),
      'init.decoder = "random" is for a start from other weights; set init.run, or '
      "leave it out: without it all parameters are random",
    )
    require(
      self.init.optimizer == "new" or bool(self.init.run),
      'init.optimizer = "keep" is for a start from another run; set init.run, or leave '
      "it out",
    )
    if self.objective.kind == "stems":
      stems = self.data.stems
      require(
        len(stems) in (0, model.num_sources),
        f"model.num_sources = {model.num_sources} but there are {len(stems)} stems: "
        f"{', '.join(stems)}; set --config.model.num_sources={len(stems)}",
      )
      return
    require(
      not self.data.stems,
      f"data.stems = {','.join(self.data.stems)} is for fine-tuning: MixIT learns from "
      'mixtures without stems; leave it out, or set objective.kind = "stems"',
    )
    require(
      self.init.freeze == "none",
      'init.freeze = "blocks" is a way of fine-tuning; it needs objective.kind = '
      '"stems"',
    )
    require(
      self.objective.assignment == "efficient"
      or model.num_sources <= _MOST_EXACT_SOURCES,
      f"the exact assignment tries 2^{model.num_sources} assignments for "
      f"model.num_sources = {model.num_sources}; at most {_MOST_EXACT_SOURCES} "
      'sources, or objective.assignment = "efficient"',
    )

  @property
  def example_samples(self) -> int:
    """Length L of a training example in samples."""
    return round(self.data.seconds * self.model.sample_rate)

  @property
  def frozen(self) -> tuple[str, ...]:
    """Top-level parameter groups that do not train."""
    return () if self.init.freeze == "none" else (self.init.freeze,)

  def changed(self, **sections: Mapping[str, Any]) -> Self:
    """Return a copy with some keys changed: `config.changed(run={"steps": 10})`."""
    changed = {
      name: dataclasses.replace(getattr(self, name), **keys)
      for name, keys in sections.items()
    }
    return dataclasses.replace(self, **changed)

  def to_dict(self) -> dict[str, Any]:
    """Return plain nested values, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  @classmethod
  def from_dict(cls, values: Mapping[str, Any]) -> Self:
    """Make a configuration from nested values.

    Raises:
      ConfigError: a key is unknown (its nearest neighbor is named), or a value has a
        wrong type or is impossible.
    """
    for name in values:
      require(name in SECTIONS, unknown_key(name, SECTIONS, ""))
    require("model" in values, "the configuration has no section `model`")
    sections: dict[str, Any] = {
      name: build(SECTIONS[name], value) for name, value in values.items()
    }
    return cls(**sections)


SECTIONS: dict[str, type[Checked]] = typing.get_type_hints(Config)


def all_rules() -> Iterator[tuple[str, Rules]]:
  """Yield dotted key and rules of every key of a run."""
  for section in SECTIONS.values():
    yield from rules_of(section)


def describe_keys(config: Config | None = None) -> str:
  """List every key with its value, or its default, and its meaning."""
  values = dict(flatten(config.to_dict())) if config else {}
  for section in () if config else SECTIONS.values():
    for field in dataclasses.fields(section):
      if field.default is not dataclasses.MISSING:
        values[f"{section.section}.{field.name}"] = field.default
  lines = []
  for key, rules in all_rules():
    value = f"={values[key]}" if key in values else ""
    lines.append(f"  --config.{key}{value}\n      {rules.meaning}")
  return "\n".join(lines)
