"""Fine-tuning on MUSDB18-HQ, from a pre-trained run or from scratch (paper 4.3).

    python -m data_prep.musdb --musdb=musdb18hq --out=data/musdb
    python -m mixit_jax.main --config=configs/finetune.py:medium \
      --workdir=runs/finetune --config.data.shards=data/musdb \
      --config.init.run=runs/pretrain-medium

Sizes are small, medium and large. Without init.run the model trains from scratch. With
init.freeze=blocks only band split and decoder train. The rows of the paper, with hours
and scores to expect, are in configs/table1.py, table2.py and table3.py.
"""

from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
  ValidConfig,
)


def get_config(size: str = "medium") -> Config:
  """Return the configuration of a size: "small", "medium" or "large"."""
  return Config(
    model=SeparatorConfig.preset(
      size,
      num_sources=4,
      dropout=0.1,  # of the paper's configurations
      dtype="auto",
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
