"""The shipped configurations, and small forms of them that any machine computes."""

from typing import Any

from configs import finetune, pretrain
from mixit_jax.training.config import Config

# Heads of 8 features, so that every platform takes its own attention.
TINY: dict[str, Any] = {
  "num_blocks": 2,
  "embed_dim": 16,
  "ffn_dim": 24,
  "num_heads": 2,
  "num_groups": 2,
  "kernel_size": 4,
}


def shipped(stage: str, size: str) -> Config:
  """Return the configuration of a stage, "pretrain" or "finetune", and a size."""
  return {"pretrain": pretrain, "finetune": finetune}[stage].get_config(size)


def shortened(config: Config) -> Config:
  """Shrink model, examples and batch until a CPU needs a second for a step."""
  return config.changed(model=TINY, data={"seconds": 0.5}, run={"batch": 8})
