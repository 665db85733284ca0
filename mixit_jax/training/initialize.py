"""The state before the first step: random, or from other weights."""

import dataclasses
import logging
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from mixit_jax.errors import UserError
from mixit_jax.objectives.channels import ChannelSelection
from mixit_jax.separator.bs_locoformer import Separator, SeparatorConfig
from mixit_jax.separator.compiled import chunk_separator
from mixit_jax.separator.outputs import select_outputs
from mixit_jax.separator.weights import Weights
from mixit_jax.training.config import Config
from mixit_jax.training.mesh import state_sharding
from mixit_jax.training.optimizer import make_optimizer
from mixit_jax.training.selection import select_channels
from mixit_jax.training.state import Params, TrainState, new_state
from mixit_jax.training.validation import valid_songs_folder
from mixit_jax.training.values import ConfigError
from mixit_jax.training.weights import describe_weights, read_weights
from mixit_jax.training.workdir import write_json

SELECTION_FILE = "channel_selection.json"

# How a model is computed, not what it is: may differ from the weights' own.
_COMPUTATION = frozenset(
  {"dropout", "attention_dropout", "dtype", "remat", "scan_blocks", "attention"}
)


def random_params(config: Config, separator: Separator) -> Params:
  """Parameters drawn from the run's seed; pure, for `jit` and `eval_shape`."""
  model = config.model
  # Parameters do not depend on the length: a few frames are enough.
  mixture = jax.numpy.zeros((1, model.num_channels, 2 * model.n_fft))
  return separator.init(jax.random.key(config.run.seed), mixture)["params"]


def state_layout(config: Config, separator: Separator, mesh: Mesh) -> TrainState:
  """Shapes, types and shardings of the run's state, nothing allocated."""
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)
  shapes = jax.eval_shape(
    lambda: new_state(
      random_params(config, separator),
      optimizer,
      config.frozen,
      ema=config.optimizer.ema > 0,
    )
  )
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    state_sharding(shapes, mesh),
  )


def initial_state(
  config: Config, workdir: Path, separator: Separator, mesh: Mesh
) -> TrainState:
  """State before the first step, created sharded.

  With `init.run` the parameters are those of that run; if it has more outputs than
  stems are wanted, they are selected on the validation songs first and the choice is
  stored in `channel_selection.json`.

  Raises:
    UserError: the weights are missing, damaged or of another architecture.
  """
  layout = state_layout(config, separator, mesh)
  shardings = jax.tree.map(lambda leaf: leaf.sharding, layout)
  optimizer = make_optimizer(config.optimizer, config.run.steps_per_epoch)

  def build(params: Params) -> TrainState:
    return new_state(params, optimizer, config.frozen, ema=config.optimizer.ema > 0)

  if not config.init.run:
    return jax.jit(
      lambda: build(random_params(config, separator)), out_shardings=shardings
    )()
  params = _starting_params(config, workdir)
  placed = jax.tree.map(
    lambda value, sharding: jax.make_array_from_callback(
      value.shape, sharding, lambda index: value[index]
    ),
    params,
    shardings.params,
  )
  return jax.jit(build, out_shardings=shardings)(placed)


def check_start(config: Config) -> None:
  """Makes sure that the run can start from `init.run`; nothing is loaded.

  Raises:
    UserError: there are no such weights, or they do not fit the configuration.
  """
  if config.init.run:
    try:
      weights = describe_weights(Path(config.init.run), config.init.weights)
    except UserError as error:
      raise ConfigError(f"init.run: {error}") from error
    _check_weights(config, weights)


def _starting_params(config: Config, workdir: Path) -> Params:
  weights = read_weights(Path(config.init.run), config.init.weights)
  _check_weights(config, weights)
  if _fits(config, weights):
    return weights.params
  selection = _select(config, weights, workdir)
  return select_outputs(weights.params, weights.config, selection)[1]


def _fits(config: Config, weights: Weights) -> bool:
  """Whether the outputs are taken as they are, or have to be matched with stems."""
  return weights.config.num_sources == config.model.num_sources and (
    weights.stems is not None or config.objective.kind == "mixit"
  )


def _check_weights(config: Config, weights: Weights) -> None:
  """Raises ConfigError unless the run can start from these weights."""
  check_architecture(weights.config, config.model, config.init.run)
  have, want = weights.config.num_sources, config.model.num_sources
  if have < want:
    raise ConfigError(
      f"{config.init.run} has {have} outputs but model.num_sources = {want}; start "
      "from a run with at least as many"
    )
  if have > want and config.objective.kind != "stems":
    raise ConfigError(
      f"{config.init.run} has {have} outputs but model.num_sources = {want}; outputs "
      "can be selected for stems only"
    )
  named = config.objective.kind == "stems" and weights.stems is not None
  if have == want and named and weights.stems != config.data.stems:
    raise ConfigError(
      f"the outputs of {config.init.run} are {', '.join(weights.stems or ())} but "
      f"data.stems is {', '.join(config.data.stems)}; give them in the same order"
    )


def _select(config: Config, weights: Weights, workdir: Path) -> tuple[int, ...]:
  """Selected outputs: chosen by process 0 and told to the others."""
  chosen = np.zeros(len(config.data.stems), np.int32)
  if jax.process_index() == 0:
    logging.info("selecting outputs of %s on the validation songs", config.init.run)
    separator = Separator(weights.config)
    selection = select_channels(
      chunk_separator(separator, weights.params),
      weights.config,
      valid_songs_folder(config),
      config.data.stems,
      config.init.select_seconds,
    )
    write_selection(workdir / SELECTION_FILE, selection, weights)
    chosen = np.asarray(selection.outputs, np.int32)
  if jax.process_count() > 1:
    chosen = np.asarray(multihost_utils.broadcast_one_to_all(chosen))
  return tuple(int(output) for output in chosen)


def write_selection(path: Path, selection: ChannelSelection, weights: Weights) -> None:
  """Stores a selection with the weights it was made for."""
  write_json(path, {**selection.to_dict(), "weights": dict(weights.card)})


def check_architecture(
  have: SeparatorConfig, want: SeparatorConfig, origin: str
) -> None:
  """Raises ConfigError, naming each key, unless the weights fit but for outputs."""
  ignored = _COMPUTATION | {"num_sources"}
  a, b = dataclasses.asdict(have), dataclasses.asdict(want)
  differing = [key for key in a if key not in ignored and a[key] != b[key]]
  if differing:
    shown = "; ".join(
      f"model.{key}: {a[key]!r} there, {b[key]!r} here" for key in differing
    )
    raise ConfigError(f"{origin} is of another architecture ({shown})")
