"""`mixit-jax import-torch`: a folder of weights from a PyTorch file."""

import argparse
from pathlib import Path

from mixit_jax.commands.options import (
  Commands,
  add_card_options,
  add_command,
  split_names,
)
from mixit_jax.stems import STEMS

# What the tensors of a PyTorch file may leave open.
OVERRIDES = ("n_heads", "n_groups", "num_channels", "n_fft", "hop", "sample_rate")


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "import-torch",
    run,
    short="make a folder of weights from a PyTorch file",
    text="""\
Make a folder of weights from a PyTorch file, such as the paper's. No code in the
file is executed. What its tensors leave open is asked for by name.""",
    usage="FILE --out=DIR [OPTION...]",
    example="mixit-jax import-torch model.pth --out=runs/official",
  )
  add = parser.add_argument
  add("file", type=Path, metavar="FILE", help="model.pth")
  add("--out", type=Path, required=True, metavar="DIR", help="new folder")
  add(
    "--merged-config",
    type=Path,
    metavar="FILE",
    help="its settings [merged_config.yaml beside the file]",
  )
  add(
    "--stems",
    metavar="A,B",
    help="names of the outputs, or none for a pre-trained model [four"
    f" outputs: {','.join(STEMS)}; else none]",
  )
  for name in OVERRIDES:
    flag = f"--{name.replace('_', '-')}"
    add(flag, type=int, metavar="N", help="[what file or settings tell]")
  add_card_options(parser)


def run(options: argparse.Namespace) -> None:
  """Convert the file."""
  from mixit_jax.inference.importing import import_torch

  stems = None if options.stems is None else split_names(options.stems)
  given = {name: getattr(options, name) for name in OVERRIDES}
  weights = import_torch(
    options.file,
    options.out,
    options.merged_config,
    () if stems == ("none",) else stems,
    options.training_data,
    options.license,
    **{name: value for name, value in given.items() if value is not None},
  )
  names = ", ".join(weights.stems or ()) or "without names, as of a pre-trained model"
  assumed = " (assumed; --stems says otherwise)" if stems is None else ""
  print(f"{options.out}: {weights.config.num_sources} outputs, {names}{assumed}")
