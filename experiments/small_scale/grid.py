"""The grid: a TOML file that says what is trained, read into tasks in order.

A task prepares data (`Music`, `Mixes`, `Labels`), pre-trains or measures something. It
names the tasks that it needs. Names are unique and become names of folders.
"""

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from experiments.small_scale.training import SIZES
from mixit_jax.errors import UserError

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
  """One piece of work.

  Attributes:
    name: unique, and fit for a folder.
    needs: names of the tasks that must be finished first.
  """

  name: str
  needs: tuple[str, ...]

  def to_dict(self) -> dict[str, Any]:
    """Return what defines the task, as plain values."""
    return {"kind": type(self).__name__.lower(), **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Music(Task):
  """Songs with stems ("songs") or mixes ("unlabeled") that a command makes.

  Attributes:
    command: such as data_prep.synthetic; nothing where the user's own music is taken.
    flags: of the command.
  """

  command: str
  flags: Values


@dataclass(frozen=True)
class Mixes(Task):
  """Shards of the first `count` unlabeled mixes, or of all."""

  count: int | None
  flags: Values


@dataclass(frozen=True)
class Labels(Task):
  """Shards of `count` labeled songs; another seed takes others where there are."""

  count: int
  seed: int
  flags: Values


@dataclass(frozen=True)
class Pretrain(Task):
  """A pre-training with MixIT."""

  size: str
  mixes: str  # name of the task that makes its shards
  seed: int
  config: Values  # keys of the configuration that it changes


@dataclass(frozen=True)
class Finetune(Task):
  """A fine-tuning and its scores on the test songs.

  Attributes:
    arm: how it starts.
    size: of the model.
    songs: number of labeled songs.
    seed: of the choice of songs, the initialization and the order of examples.
    labels: name of the task that makes its shards.
    start: name of the pre-training, or nothing.
    config: keys of the configuration that it changes.
  """

  arm: str
  size: str
  songs: int
  seed: int
  labels: str
  start: str
  config: Values


@dataclass(frozen=True)
class Splitting(Task):
  """What a pre-trained model does to mixtures of mixtures whose stems are known.

  Attributes:
    start: name of the pre-training.
    weights: which of its weights: a step, or another word of `init.weights`.
    pairs: "independent", "aligned" (same tempo and chords) or "halves" (of one song).
    count: number of pairs.
    flags: seconds of a pair and the generator's sample rate.
  """

  start: str
  weights: str
  pairs: str
  count: int
  flags: Values


@dataclass(frozen=True)
class Table:
  """A table of the report: a row for each number of songs, a column for each arm."""

  title: str
  size: str
  arms: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
  """Tasks in the order of work, and how their results are shown.

  Attributes:
    tasks: everything that is done.
    tables: of the report.
    against: arms, and the arms that each is compared with.
    songs: where train/, valid/ and test/ lie below the folder of the work.
  """

  tasks: tuple[Task, ...]
  tables: tuple[Table, ...]
  against: Mapping[str, str]
  songs: str


def read_grid(file: Path) -> Grid:
  """Read a grid.

  Raises:
    UserError: the file is not a grid; the message names the key.
  """
  try:
    grid = tomllib.loads(file.read_text("utf-8"))
  except OSError as error:
    raise UserError(f"{file} cannot be read: {error.strerror}") from error
  except ValueError as error:
    raise UserError(f"{file} is not valid TOML: {error}") from error
  known = {"songs", "unlabeled", "shards", "arms", "pretrain", "finetune"}
  known |= {"cells", "tables"}
  for key in grid:
    if key not in known:
      raise UserError(
        f"{file}: unknown key {key}; known are {', '.join(sorted(known))}"
      )
  tasks: dict[str, Task] = {}
  try:
    for task in _tasks(grid):
      if tasks.setdefault(task.name, task) != task:
        raise UserError(f"{file}: {task.name} is defined twice, in different ways")
    tables = tuple(
      Table(table["title"], table["size"], tuple(table["arms"]))
      for table in grid.get("tables", [])
    )
    songs = str(PurePosixPath("songs", grid["songs"].get("folder", "")))
    against = {
      arm: settings["against"]
      for arm, settings in _arms(grid).items()
      if "against" in settings
    }
  except KeyError as error:
    raise UserError(f"{file}: {error.args[0]} is missing, or no such name") from error
  return Grid(tuple(tasks.values()), tables, against, songs)


def _tasks(grid: Values) -> Iterator[Task]:
  """Yield the tasks; some come more than once."""
  music, unlabeled = (_music(name, grid[name]) for name in ("songs", "unlabeled"))
  arms = _arms(grid)
  pretrains = dict(_pretrains(grid))

  def start(name: str) -> Iterator[Task]:
    mixes, pretrain = pretrains[name]
    yield unlabeled
    yield mixes
    yield pretrain

  for table in grid["cells"]:
    if "arms" in table:
      for count in table["songs"]:
        for seed in table["seeds"]:
          yield music
          labels = Labels(
            f"labels-{count}-{seed}", ("songs",), count, seed, dict(grid["shards"])
          )
          yield labels
          for arm in table["arms"]:
            task = _finetune(grid, table, labels, arm, arms[arm])
            if task.start:
              yield from start(task.start)
            yield task
    else:
      for weights in table["weights"]:
        for pairs in table["pairs"]:
          yield from start(table["pretrain"])
          yield _splitting(grid, table, str(weights), pairs)


def _music(name: str, table: Values) -> Music:
  ours = ("command", "folder")
  flags = {key: value for key, value in table.items() if key not in ours}
  return Music(name, (), table.get("command", "data_prep.synthetic"), flags)


def _arms(grid: Values) -> dict[str, Values]:
  """Return what each arm changes; one may be like an earlier one in all else."""
  arms: dict[str, Values] = {}
  for name, own in grid.get("arms", {}).items():
    arms[name] = {**arms[own["like"]], **own} if "like" in own else own
  return arms


def _pretrains(grid: Values) -> Iterator[tuple[str, tuple[Mixes, Pretrain]]]:
  """Yield the pre-trainings by name, each with the task that makes its shards."""
  tables = grid.get("pretrain", {})
  common = {k: value for k, value in tables.items() if not isinstance(value, dict)}
  for name, own in tables.items():
    if name not in common:
      yield name, _pretrain(name, {**common, **own}, grid)


def _pretrain(name: str, table: Values, grid: Values) -> tuple[Mixes, Pretrain]:
  number = table["mixes"]
  count = None if number == "all" else number
  if not isinstance(count, int | None):
    raise UserError(f'mixes = {number!r}: expected a number or "all"')
  mixes = Mixes(f"mixes-{number}", ("unlabeled",), count, dict(grid["shards"]))
  config = {**_config(table), "run.steps": table["steps"]}
  size = _size(table)
  seed = table.get("seed", 0)
  return mixes, Pretrain(name, (mixes.name,), size, mixes.name, seed, config)


def _finetune(
  grid: Values, table: Values, labels: Labels, arm: str, settings: Values
) -> Finetune:
  start = settings.get("from", "")
  config = _config({**grid.get("finetune", {}), **settings, **table})
  size = _size(table)
  name = f"{size}-{arm}-{labels.count}-{labels.seed}"
  needs = (labels.name, start) if start else (labels.name,)
  return Finetune(
    name, needs, arm, size, labels.count, labels.seed, labels.name, start, config
  )


def _config(table: Values) -> Values:
  """Return the keys of a table that are a training's."""
  return {key: value for key, value in table.items() if "." in key}


def _splitting(grid: Values, table: Values, weights: str, pairs: str) -> Splitting:
  start = table["pretrain"]
  rate = grid["songs"]["sample-rate"]
  return Splitting(
    f"splitting-{start}-{weights}-{pairs}",
    (start,),
    start,
    weights,
    pairs,
    table["count"],
    {"seconds": table["seconds"], "sample-rate": rate},
  )


def _size(table: Values) -> str:
  if table["size"] not in SIZES:
    raise UserError(f"size {table['size']!r} is not one of {', '.join(SIZES)}")
  return str(table["size"])
