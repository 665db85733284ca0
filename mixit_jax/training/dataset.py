"""What a run trains on: one prepared folder or several, and their stems."""

from pathlib import Path

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import ConfigError
from mixit_jax.training.config import Config


def load_manifests(config: Config) -> list[tuple[Path, Manifest]]:
  """Read the manifests of all folders of `data.shards`.

  Raises:
    UserError: no folder is named, or a manifest is missing or damaged.
  """
  if not config.data.folders:
    raise ConfigError(
      "no training data: set --config.data.shards to a folder that data_prep wrote"
    )
  return [(Path(folder), Manifest.load(Path(folder))) for folder in config.data.folders]


def settle_data(config: Config) -> Config:
  """Take the stems from the data, or check those of the configuration.

  Returns:
    the configuration, with `data.stems` filled in where the objective needs them.

  Raises:
    UserError: the data is missing, its stems or their order are others than those of
      the configuration, or its channels are others than those of the model.
  """
  for folder, manifest in load_manifests(config):
    channels, wanted = manifest.num_channels, config.model.num_channels
    if channels != wanted:
      raise ConfigError(
        f"{folder} holds audio of {channels} channels, but model.num_channels ="
        f" {wanted}; set --config.model.num_channels={channels}"
      )
    if config.objective.kind == "stems":
      config = _settle_stems(config, folder, manifest)
  return config


def _settle_stems(config: Config, folder: Path, manifest: Manifest) -> Config:
  there, stems = manifest.stem_names(), config.data.stems
  if not there:
    raise ConfigError(
      f'{folder} holds no stems, which objective.kind = "stems" needs; give a folder'
      " that data_prep.musdb wrote"
    )
  if not stems:
    return config.changed(data={"stems": there})
  # Data that was prepared before the order was noted serves in any.
  if stems != there if manifest.stems else set(stems) != set(there):
    raise ConfigError(
      f"data.stems is {','.join(stems)}, but {folder} was prepared for the stems"
      f" {','.join(there)} in this order; leave data.stems out, or prepare the data"
      f" with --stems={','.join(stems)}"
    )
  return config
