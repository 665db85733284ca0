"""Table 1 of the paper: from scratch against pre-trained with MixIT (section 4.4).

    python -m mixit_jax.main --config=configs/table1.py:ROW --workdir=runs/ROW
    mixit-jax evaluate runs/ROW --songs=musdb18hq/test

ROW is the paper's name of a row. A pre-trained row starts from runs/pretrain-SIZE: run
the command of configs/pretrain.py first. Data is in data/musdb; other places are named
by --config.data.shards and --config.init.run.

  row  size    starts from  hours on 1 H200  on 8  uSDR / cSDR
  S1   small   scratch                  2.7   0.3  8.28 / 8.40
  S2   small   pre-trained              2.7   0.3  8.59 / 8.80
  M1   medium  scratch                  7.7   1.0  8.75 / 9.04
  M2   medium  pre-trained              7.7   1.0  9.30 / 9.46
  L1   large   scratch                 22.7   2.8  9.21 / 9.58
  L2   large   pre-trained             22.7   2.8  9.72 / 9.90

Scores are the paper's, mean over the stems of the MUSDB18-HQ test set; `evaluate` calls
them usdr_per_channel and csdr. Hours are expected from operation counts, not measured:
45 % of the 790 TFLOP/s that an H200 reaches in bfloat16 matrix products, and 8 times
that on 8. Pre-training and validation come on top.
"""

from configs import finetune
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config

# Row: size and whether it is pre-trained.
ROWS = {
  "S1": ("small", False),
  "S2": ("small", True),
  "M1": ("medium", False),
  "M2": ("medium", True),
  "L1": ("large", False),
  "L2": ("large", True),
}


def get_config(row: str = "") -> Config:
  """Return the configuration of a row of Table 1."""
  if row not in ROWS:
    raise UserError(f'row "{row}" of Table 1 is not one of {", ".join(ROWS)}')
  size, pretrained = ROWS[row]
  run = f"runs/pretrain-{size}" if pretrained else ""
  return finetune.get_config(size).changed(
    data={"shards": "data/musdb"}, init={"run": run}
  )
