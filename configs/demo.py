"""The recipe in miniature, on synthetic songs at 8 kHz: a few minutes on two CPU cores.

    --config=configs/demo.py:pretrain   MixIT with 8 outputs on unlabeled mixes
    --config=configs/demo.py:finetune   4 stems, started from the pre-trained run

Run by `make demo`. Same code, objectives and commands as for the paper's models; only
sizes differ, so its scores say nothing about theirs.
"""

import ml_collections

from mixit_jax.separator.bs_locoformer import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  DataConfig,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
  ValidConfig,
  config_dict,
)

SAMPLE_RATE = 8000
# 513 bins of 7.8 Hz: fine where bass and kick live, coarse above.
BANDS = (6,) * 8 + (15,) * 11 + (50,) * 6


def get_config(stage: str) -> ml_collections.ConfigDict:
  """Configuration of a stage: "pretrain" or "finetune"."""
  pretrain = stage == "pretrain"
  model = SeparatorConfig(
    num_blocks=2,
    embed_dim=32,
    ffn_dim=48,
    kernel_size=4,
    num_heads=4,
    num_groups=4,
    num_sources=8 if pretrain else 4,
    sample_rate=SAMPLE_RATE,
    n_fft=1024,
    hop=256,
    bands=BANDS,
  )
  steps = 500 if pretrain else 600
  return config_dict(
    Config(
      model=model,
      objective=ObjectiveConfig(kind="mixit" if pretrain else "stems"),
      data=DataConfig(seconds=3.0, threads=1, buffer=8),
      optimizer=OptimizerConfig(
        peak_rate=2e-3, warmup_steps=50, decay=0.8, decay_epochs=1
      ),
      valid=ValidConfig(examples=64, scores_every_epochs=0, media=1),
      run=RunConfig(
        steps=steps, steps_per_epoch=100, batch=8, log_every=25, save_every=100
      ),
    )
  )
