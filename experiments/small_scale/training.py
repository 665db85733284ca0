"""Configurations of the trainings of the grid, at 8 kHz: the demo in more sizes.

    --config=experiments/small_scale/training.py:pretrain-tiny
    --config=experiments/small_scale/training.py:finetune-tiny

Sizes are tiny, small and medium. What a cell of the grid changes is set on the command
line.
"""

from configs import demo
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config, InitConfig, RunConfig

# Blocks, features, hidden features. The first is the demo's.
SIZES = {"tiny": (2, 24, 32), "small": (3, 32, 48), "medium": (4, 96, 128)}


def get_config(name: str) -> Config:
  """Return the configuration STAGE-SIZE, such as "pretrain-tiny"."""
  stage, _, size = name.partition("-")
  if stage not in ("pretrain", "finetune") or size not in SIZES:
    raise UserError(
      f'"{name}" is not STAGE-SIZE: pretrain or finetune, {" or ".join(SIZES)}'
    )
  sizes = dict(zip(("num_blocks", "embed_dim", "ffn_dim"), SIZES[size], strict=True))
  return demo.get_config(stage).changed(
    # The cells say what differs between ways to start.
    model={**sizes, "num_masks": 0},
    init={"weights": InitConfig().weights},
    optimizer={
      "peak_rate": 2e-3,
      "warmup_steps": 50,
      "constant_epochs": 0,
      "decay": 0.87,
      "decay_epochs": 1,
      "ema": 0.0,
    },
    valid={"media": 0},
    run={
      "steps": 3000,
      "steps_per_epoch": 200,
      "keep_latest": 2,
      "keep_best": RunConfig().keep_best,
    },
  )
