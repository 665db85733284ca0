"""Pre-training with MixIT on unlabeled music (paper 3.1 and 4.3).

    python -m data_prep.fma --audio=fma_large --metadata=fma_metadata --out=data/fma
    python -m mixit_jax.main --config=configs/pretrain.py:SIZE \
      --workdir=runs/pretrain-SIZE --config.data.shards=data/fma

As in the paper: 150 epochs of 1000 steps, 64 mixtures of mixtures of 6 s in a step, 12
outputs.

  size    hours on 1 H200  on 8
  small               8.8   1.1
  medium             24.1   3.0
  large              69.9   8.7

Hours are expected from operation counts, not measured: 45 % of the 790 TFLOP/s that an
H200 reaches in bfloat16 matrix products, and 8 times that on 8. Validation comes on
top. What pre-training is worth shows after fine-tuning: see configs/table1.py.
"""

from mixit_jax.separator.config import SeparatorConfig
from mixit_jax.training.config import Config, OptimizerConfig, RunConfig


def get_config(size: str = "medium") -> Config:
  """Return the configuration of a size: "small", "medium" or "large"."""
  return Config(
    model=SeparatorConfig.preset(
      size,
      num_sources=12,
      dropout=0.1,  # of the paper's configurations
      dtype="auto",
    ),
    optimizer=OptimizerConfig(peak_rate=5e-4 if size == "large" else 1e-3),
    run=RunConfig(steps=150_000, steps_per_epoch=1000, batch=64),
  )
