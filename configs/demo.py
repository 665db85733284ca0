"""The recipe in miniature, on synthetic songs at 8 kHz: minutes on two CPU cores.

    --config=configs/demo.py:pretrain   MixIT with 12 outputs on unlabeled mixes
    --config=configs/demo.py:finetune   4 stems, started from the pre-trained run
    --config=configs/demo.py:scratch    4 stems, from random parameters

`make demo` runs all of it. Code, objectives and commands are those of the paper's
models; only sizes differ, so the scores say nothing about theirs.
"""

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
# Large steps undo what was learned before.
PEAK_RATES = {"pretrain": 1.5e-3, "finetune": 1e-3, "scratch": 2e-3}
# The pre-trained model divides stems among its outputs: all of them are used.
NUM_MASKS = {"pretrain": 0, "finetune": 12, "scratch": 0}
# The best checkpoint may be one that is still near to the start.
WARMUP_STEPS = {"pretrain": 200, "finetune": 200, "scratch": 50}


def get_config(stage: str) -> Config:
  """Return the configuration of a stage: "pretrain", "finetune" or "scratch"."""
  if stage not in PEAK_RATES:
    raise UserError(f'stage "{stage}" is none of {", ".join(PEAK_RATES)}')
  pretrain = stage == "pretrain"
  model = SeparatorConfig(
    num_blocks=2,
    embed_dim=24,
    ffn_dim=32,
    kernel_size=4,
    num_heads=4,
    num_groups=4,
    num_sources=12 if pretrain else 4,
    num_masks=NUM_MASKS[stage],
    sample_rate=SAMPLE_RATE,
    n_fft=512,
    hop=256,
    bands=BANDS,
  )
  return Config(
    model=model,
    objective=ObjectiveConfig(kind="mixit" if pretrain else "stems"),
    data=DataConfig(seconds=2.0, threads=1, buffer=8),
    # The mean of the best checkpoints of so short a run would reach far back.
    init=InitConfig(select_seconds=4.0, weights="best"),
    optimizer=OptimizerConfig(
      peak_rate=PEAK_RATES[stage],
      warmup_steps=WARMUP_STEPS[stage],
      constant_epochs=0 if pretrain else 8,
      decay=0.92 if pretrain else 0.8,
      # Batches are small.
      ema=0.995 if pretrain else 0.98,
    ),
    valid=ValidConfig(
      examples=48, scores_every_epochs=0, media=1, chunk_seconds=8.0, hop_seconds=8.0
    ),
    run=RunConfig(
      steps=2000 if pretrain else 300,
      # Few songs are soon learned by heart: the best checkpoint may be an early one.
      steps_per_epoch=200 if pretrain else 25,
      batch=4,
      log_every=50,
      save_every=200,
      keep_best=5 if pretrain else 3,
    ),
  )
