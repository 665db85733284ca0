"""What a run trains on: the stems of its data are those of its model."""

from pathlib import Path

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import ConfigError
from mixit_jax.training.config import Config


def settle_data(config: Config) -> Config:
  """Take the stems from the data, or check those of the configuration.

  Returns:
    the configuration, with `data.stems` filled in where the objective needs them.

  Raises:
    UserError: the data is missing, its stems or their order are others than those of
      the configuration, or its channels are others than those of the model.
  """
  shards = config.data.shards
  if not shards:  # opening the data says so
    return config
  manifest = Manifest.load(Path(shards))
  channels, wanted = manifest.num_channels, config.model.num_channels
  if channels != wanted:
    raise ConfigError(
      f"{shards} holds audio of {channels} channels, but model.num_channels = {wanted};"
      f" set --config.model.num_channels={channels}"
    )
  if config.objective.kind != "stems":
    return config
  there, stems = manifest.stem_names(), config.data.stems
  if not there:
    raise ConfigError(
      f'{shards} holds no stems, which objective.kind = "stems" needs; give a folder'
      " that data_prep.musdb wrote"
    )
  if not stems:
    return config.changed(data={"stems": there})
  # Data that was prepared before the order was noted may be used in any.
  if stems != there if manifest.stems else set(stems) != set(there):
    raise ConfigError(
      f"data.stems is {','.join(stems)}, but {shards} was prepared for the stems"
      f" {','.join(there)} in this order; leave data.stems out, or prepare the data"
      f" with --stems={','.join(stems)}"
    )
  return config
