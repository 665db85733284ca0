"""The command lines of `mixit-jax`: names, meanings and defaults."""

from __future__ import annotations

import argparse
from pathlib import Path

from mixit_jax.version import __version__

# What the tensors of a PyTorch file may leave open.
TORCH_OVERRIDES = ("n_heads", "n_groups", "num_channels", "n_fft", "hop", "sample_rate")


def make_parser(description: str | None) -> argparse.ArgumentParser:
  """Make the parser; the command goes to `command`."""
  parser = argparse.ArgumentParser(prog="mixit-jax", description=description)
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

  separate = _model_command(commands, "separate", "separate recordings into stems")
  separate.add_argument(
    "inputs", nargs="+", type=Path, metavar="INPUT", help="file, folder, or - for stdin"
  )
  separate.add_argument("--out", type=Path, required=True, help="folder of the stems")
  separate.add_argument("--stems", help="write only these, separated by commas [all]")
  separate.add_argument(
    "--minus", default="", help="also write the recording without these, as no_NAME"
  )
  separate.add_argument(
    "--format", choices=("wav", "flac", "mp3", "ogg"), default="wav", help="[wav]"
  )
  separate.add_argument("--bits", help="float, 24 or 16 [wav: float, flac: 24]")
  separate.add_argument("--bitrate", type=int, help="of mp3, constant, kbit/s [256]")
  separate.add_argument(
    "--peaks",
    choices=("keep", "scale", "clip"),
    help="samples above full scale: keep them (wav in float, mp3, ogg), scale all files"
    " of a recording by one factor, or clip [keep, or clip with 24 or 16 bits]",
  )
  separate.add_argument(
    "--rate",
    choices=("input", "model"),
    default="input",
    help="sample rate of the stems [input]",
  )
  separate.add_argument(
    "--downmix", action="store_true", help="take recordings of more channels"
  )
  separate.add_argument(
    "--sum-to-mixture", action="store_true", help="the outputs sum to the recording"
  )
  separate.add_argument(
    "--shifts", type=int, default=1, help="separate so often, shifted; mean [1]"
  )
  separate.add_argument(
    "--also",
    action="append",
    default=[],
    type=Path,
    metavar="RUN",
    help="average with this run, too; may be repeated",
  )
  separate.add_argument(
    "--shares", help="of RUN and each --also in the average, e.g. 2,1 [equal]"
  )
  separate.add_argument(
    "--overwrite", action="store_true", help="replace stems that are there already"
  )
  _chunk_options(separate)

  evaluate = _model_command(commands, "evaluate", "score a model on whole songs")
  evaluate.add_argument("--songs", type=Path, required=True, help="folder of songs")
  evaluate.add_argument("--json", type=Path, help="also write all scores to this file")
  _chunk_options(evaluate)

  select = _model_command(
    commands,
    "select-channels",
    "see which outputs of a pre-trained model are the stems",
  )
  select.add_argument("--songs", type=Path, required=True, help="validation songs")
  select.add_argument(
    "--stems", help="names, separated by commas [those that all songs have]"
  )
  select.add_argument("--seconds", type=float, default=6.0, help="length of the chunks")
  _precision_option(select)
  select.add_argument(
    "--json", type=Path, help="file of the result [RUN/channel_selection.json]"
  )

  importing = _command(
    commands,
    "import-torch",
    "make a folder of weights from a PyTorch file; no code in the file is executed",
  )
  importing.add_argument("file", type=Path, metavar="FILE", help="model.pth")
  importing.add_argument("--out", type=Path, required=True, help="new folder")
  importing.add_argument(
    "--merged-config", type=Path, help="[merged_config.yaml beside the file]"
  )
  importing.add_argument(
    "--stems",
    help="names of the outputs, separated by commas, or none for a pre-trained model "
    "[four outputs: bass,drums,vocals,other; else none]",
  )
  for name in TORCH_OVERRIDES:
    importing.add_argument(
      f"--{name.replace('_', '-')}", type=int, help="where the file does not tell it"
    )
  _card_options(importing)

  exporting = _model_command(
    commands, "export", "make a folder of weights with a model card"
  )
  exporting.add_argument("--out", type=Path, required=True, help="new folder")
  exporting.add_argument(
    "--format",
    choices=("safetensors", "orbax", "torch"),
    default="safetensors",
    help="torch: a state dict for the paper's code [safetensors]",
  )
  exporting.add_argument(
    "--scores", type=Path, metavar="FILE", help="of evaluate --json, for the card"
  )
  _card_options(exporting)

  status = _command(commands, "status", "see how runs stand, while they train or later")
  status.add_argument("runs", nargs="+", type=Path, metavar="RUN")
  status.add_argument(
    "--json", action="store_true", help="print a list of JSON objects instead"
  )

  doctor = _command(
    commands,
    "doctor",
    "see whether this machine is ready, with --config what a run will need, or with"
    " --data whether prepared data is whole",
  )
  doctor.usage = (
    "%(prog)s [--config=FILE[:NAME]] [--config.KEY=…] [--data=FOLDER] [OPTION…]"
  )
  doctor.add_argument(
    "--data",
    metavar="FOLDER",
    help="read some records of each shard, and every validation song, in a minute;"
    " several folders are separated by commas",
  )
  doctor.add_argument(
    "--data-all", action="store_true", help="read every record instead"
  )
  doctor.add_argument(
    "--config",
    metavar="FILE[:NAME]",
    help="compile the step of this run, for its memory and hours; overrides as in "
    "training, e.g. --config.run.batch=32; no data is read",
  )
  doctor.add_argument(
    "--topology",
    metavar="KIND:SHAPE",
    help="of devices that are not here, e.g. v5e:4x4 or h100:8 [those of this machine]",
  )
  doctor.add_argument(
    "--utilization",
    type=float,
    default=45,
    metavar="PERCENT",
    help="of the peak that the run is assumed to reach [45]",
  )
  doctor.add_argument(
    "--peak-tflops",
    type=float,
    metavar="TFLOPS",
    help="peak of each device in TFLOP/s [what is known of its kind]",
  )
  return parser


def _command(
  commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
  return commands.add_parser(name, help=text, description=text)


def _model_command(
  commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
  parser = _command(commands, name, text)
  parser.add_argument(
    "model", type=Path, metavar="RUN", help="run or folder of weights"
  )
  parser.add_argument(
    "--weights",
    default="mean",
    help="of a run: mean (of the best checkpoints), best, latest, ema or a step [mean]",
  )
  return parser


def _chunk_options(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--chunk", type=float, default=12.0, help="seconds [12]")
  parser.add_argument("--hop", type=float, default=6.0, help="seconds [6]")
  parser.add_argument(
    "--window",
    choices=("mean", "triangle", "hann"),
    default="mean",
    help="weights where chunks overlap [mean]",
  )
  parser.add_argument(
    "--batch",
    type=int,
    metavar="N",
    help="chunks that each device separates together [1 on a CPU, else by its memory]",
  )
  _precision_option(parser)


def _precision_option(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--precision",
    choices=("float32", "bfloat16"),
    help="type of the computation [as the model's configuration says]",
  )


def _card_options(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--license", default="", help="of the weights, for the card")
  parser.add_argument("--training-data", default="", help="text for the card")
