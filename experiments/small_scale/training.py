"""Configurations of the trainings of the grid, at 8 kHz.

    --config=experiments/small_scale/training.py:pretrain-tiny
    --config=experiments/small_scale/training.py:finetune-tiny

Sizes are tiny, small and medium. What a cell of the grid changes is set on the command
line.
"""

from typing import Any

from mixit_jax.errors import UserError
from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import (
  Config,
  DataConfig,
  InitConfig,
  ObjectiveConfig,
  OptimizerConfig,
  RunConfig,
  ValidConfig,
)

SAMPLE_RATE = 8000
# 257 bins of 15.6 Hz: fine where bass and kick live, coarse above.
BANDS = (4,) * 4 + (8,) * 4 + (17,) * 4 + (33,) + (36,) * 3
SIZES: dict[str, dict[str, Any]] = {
  "tiny": {"num_blocks": 2, "embed_dim": 24, "ffn_dim": 32},
  "small": {"num_blocks": 3, "embed_dim": 32, "ffn_dim": 48},
  "medium": {"num_blocks": 4, "embed_dim": 96, "ffn_dim": 128},
}
OUTPUTS = 12  # of pre-training


def get_config(name: str) -> Config:
  """Return the configuration STAGE-SIZE, such as "pretrain-tiny"."""
  stage, _, size = name.partition("-")
  if stage not in ("pretrain", "finetune") or size not in SIZES:
    raise UserError(
      f'"{name}" is not STAGE-SIZE: pretrain or finetune, {" or ".join(SIZES)}'
    )
  pretrain = stage == "pretrain"
  model = SeparatorConfig(
    **SIZES[size],
    kernel_size=4,
    num_heads=4,
    num_groups=4,
    num_sources=OUTPUTS if pretrain else 4,
    sample_rate=SAMPLE_RATE,
    n_fft=512,
    hop=256,
    bands=BANDS,
  )
  return Config(
    model=model,
    objective=ObjectiveConfig(kind="mixit" if pretrain else "stems"),
    data=DataConfig(seconds=2.0, threads=1, buffer=8),
    init=InitConfig(select_seconds=4.0),
    optimizer=OptimizerConfig(
      peak_rate=2e-3, warmup_steps=50, decay=0.87, decay_epochs=1
    ),
    valid=ValidConfig(
      examples=48, scores_every_epochs=0, media=0, chunk_seconds=8.0, hop_seconds=8.0
    ),
    run=RunConfig(
      steps=3000,
      steps_per_epoch=200,
      batch=4,
      log_every=50,
      save_every=200,
      keep_latest=2,
    ),
  )
