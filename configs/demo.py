"""The recipe in miniature, on synthetic songs at 8 kHz: a few minutes on two CPU cores.

    --config=configs/demo.py:pretrain   MixIT with 12 outputs on unlabeled mixes
    --config=configs/demo.py:finetune   4 stems, started from the pre-trained run

`make demo` runs both. Code, objectives and commands are those of the paper's models;
only sizes differ, so the scores say nothing about theirs.
"""

from mixit_jax.errors import UserError
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  DataConfig,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
  ValidConfig,
)

SAMPLE_RATE = 8000
# 257 bins of 15.6 Hz: fine where bass and kick live, coarse above.
BANDS = (4,) * 8 + (9,) * 9 + (24,) * 6


def get_config(stage: str) -> Config:
  """Return the configuration of a stage: "pretrain" or "finetune"."""
  if stage not in ("pretrain", "finetune"):
    raise UserError(f'stage "{stage}" is neither "pretrain" nor "finetune"')
  pretrain = stage == "pretrain"
  model = SeparatorConfig(
    num_blocks=2,
    embed_dim=32,
    ffn_dim=48,
    kernel_size=4,
    num_heads=4,
    num_groups=4,
    num_sources=12 if pretrain else 4,
    sample_rate=SAMPLE_RATE,
    n_fft=512,
    hop=256,
    bands=BANDS,
  )
  return Config(
    model=model,
    objective=ObjectiveConfig(kind="mixit" if pretrain else "stems"),
    data=DataConfig(seconds=2.0 if pretrain else 3.0, threads=1, buffer=8),
    optimizer=OptimizerConfig(
      peak_rate=2e-3, warmup_steps=50, decay=0.8, decay_epochs=1
    ),
    valid=ValidConfig(examples=64, scores_every_epochs=0, media=1),
    run=RunConfig(
      steps=500, steps_per_epoch=100, batch=4, log_every=25, save_every=100
    ),
  )
