"""Table 2 of the paper: what a frozen separator is worth (section 4.5).

    python -m mixit_jax.main --config=configs/table2.py:ROW --workdir=runs/frozen-ROW
    mixit-jax evaluate runs/frozen-ROW --songs=musdb18hq/test

Only band split and decoder train, for 200 epochs. The blocks between them keep their
random or their pre-trained parameters. A pre-trained row starts from
runs/pretrain-SIZE: run the command of configs/pretrain.py first. Data is in data/musdb;
other places are named by --config.data.shards and --config.init.run.

  row                 blocks       hours on 1 H200  on 8  uSDR / cSDR
  small               random                   0.4   0.1  3.62 / 3.27
  small-pretrained    pre-trained              0.4   0.1  6.67 / 6.73
  medium              random                   1.2   0.1  3.68 / 3.34
  medium-pretrained   pre-trained              1.2   0.1  7.27 / 7.36
  large               random                   3.4   0.4  3.83 / 3.61
  large-pretrained    pre-trained              3.4   0.4  7.11 / 7.27

Scores are the paper's, mean over the stems of the MUSDB18-HQ test set; `evaluate` calls
them usdr_per_channel and csdr. Hours are expected from operation counts, not measured:
45 % of the 790 TFLOP/s that an H200 reaches in bfloat16 matrix products, and 8 times
that on 8. Pre-training and validation come on top.
"""

from configs import table1
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config

# Row of this table: row of Table 1 that differs in the frozen separator alone.
ROWS = {
  "small": "S1",
  "small-pretrained": "S2",
  "medium": "M1",
  "medium-pretrained": "M2",
  "large": "L1",
  "large-pretrained": "L2",
}
EPOCHS = 200


def get_config(row: str = "") -> Config:
  """Return the configuration of a row of Table 2."""
  if row not in ROWS:
    raise UserError(f'row "{row}" of Table 2 is not one of {", ".join(ROWS)}')
  config = table1.get_config(ROWS[row])
  steps = EPOCHS * config.run.steps_per_epoch
  return config.changed(init={"freeze": "blocks"}, run={"steps": steps})
