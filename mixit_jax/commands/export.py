"""`mixit-jax export`: a folder of weights with a model card."""

import argparse
from pathlib import Path

from mixit_jax.commands.options import (
  Commands,
  add_card_options,
  add_command,
  add_model_argument,
)


def add_to(commands: Commands) -> None:
  """Add the command."""
  parser = add_command(
    commands,
    "export",
    run,
    short="make a folder of weights with a model card",
    text="Make a folder of weights to pass on: settings, tensors and a model card.",
    usage="RUN --out=DIR [OPTION...]",
    example='mixit-jax export runs/finetune --out=model --license="CC BY-NC 4.0"',
  )
  add_model_argument(parser)
  add = parser.add_argument
  add("--out", type=Path, required=True, metavar="DIR", help="new folder")
  add(
    "--format",
    choices=("safetensors", "orbax", "torch"),
    default="safetensors",
    metavar="F",
    help="safetensors, orbax, or torch for the paper's code [safetensors]",
  )
  add(
    "--scores", type=Path, metavar="FILE", help="of evaluate --json, for the card [-]"
  )
  add_card_options(parser)


def run(options: argparse.Namespace) -> None:
  """Write the folder."""
  from mixit_jax.inference.exporting import export

  export(
    options.model,
    options.out,
    options.weights,
    options.format,
    options.training_data,
    options.license,
    options.scores,
  )
  print(f"{options.out}: {options.format}, with a model card in README.md")
