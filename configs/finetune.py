"""Fine-tuning on MUSDB18-HQ, from a pre-trained run or from scratch (paper 4.3).

    python -m data_prep.musdb --musdb=musdb18hq --out=data/musdb
    python -m mixit_jax.main --config=configs/finetune.py:medium \
      --workdir=runs/finetune --config.data.shards=data/musdb \
      --config.init.run=runs/pretrain

Sizes: small, medium, large. Without init.run it trains from scratch. With
init.freeze = "separator" only band split and decoder train (paper 4.5, Table 2, 200
epochs: --config.run.steps=22000).

Paper, Table 1, uSDR / cSDR averaged over the stems of the MUSDB18-HQ test set:
  small   scratch 8.28 / 8.40   pre-trained 8.59 / 8.80
  medium  scratch 8.75 / 9.04   pre-trained 9.30 / 9.46
  large   scratch 9.21 / 9.58   pre-trained 9.72 / 9.90
"""

import ml_collections

from mixit_jax.separator.bs_locoformer import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
  ValidConfig,
  config_dict,
)


def get_config(size: str = "medium") -> ml_collections.ConfigDict:
  """Configuration of a size: "small", "medium" or "large"."""
  return config_dict(
    Config(
      model=SeparatorConfig.preset(
        size,
        num_sources=4,
        dropout=0.1,  # of the paper's configurations
        dtype="auto",
        remat="dots",
      ),
      objective=ObjectiveConfig(kind="stems"),
      optimizer=OptimizerConfig(
        peak_rate=5e-4 if size == "large" else 1e-3,
        constant_epochs=550,
        decay=0.98,
        decay_epochs=2,
      ),
      run=RunConfig(steps=99_000, steps_per_epoch=110, batch=32, save_every=1100),
      valid=ValidConfig(every_epochs=1, scores_every_epochs=50),
    )
  )
