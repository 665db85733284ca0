"""Table 3 of the paper: how much unlabeled music the medium model needs (section 4.6).

    python -m mixit_jax.main --config=configs/table3.py:ROW --workdir=runs/scale-ROW
    mixit-jax evaluate runs/scale-ROW --songs=musdb18hq/test

ROW is the part of FMA that the run was pre-trained on, in the same number of steps:

    python -m mixit_jax.main --config=configs/pretrain.py:medium \
      --workdir=runs/pretrain-medium-ROW --config.data.shards=data/fma-ROW

Rows `none` and `large` are M1 and M2 of Table 1 and need not be run twice: `large`
starts from runs/pretrain-medium, on data/fma. Data for fine-tuning is in data/musdb;
other places are named by --config.data.shards and --config.init.run.

  row     hours of music  hours on 1 H200  on 8  uSDR / cSDR
  none                 0              7.7   1.0  8.75 / 9.04
  small               67              7.7   1.0  9.08 / 9.30
  medium             209              7.7   1.0  9.29 / 9.40
  large              890              7.7   1.0  9.30 / 9.46
  full              8232              7.7   1.0  9.39 / 9.51

Scores are the paper's, mean over the stems of the MUSDB18-HQ test set; `evaluate` calls
them usdr_per_channel and csdr. Hours are expected from operation counts, not measured:
45 % of the 790 TFLOP/s that an H200 reaches in bfloat16 matrix products, and 8 times
that on 8. Pre-training and validation come on top.
"""

from configs import table1
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config

ROWS = ("none", "small", "medium", "large", "full")


def get_config(row: str = "") -> Config:
  """Return the configuration of a row of Table 3."""
  if row not in ROWS:
    raise UserError(f'row "{row}" of Table 3 is not one of {", ".join(ROWS)}')
  if row == "none":
    return table1.get_config("M1")
  config = table1.get_config("M2")
  if row == "large":
    return config
  return config.changed(init={"run": f"{config.init.run}-{row}"})
