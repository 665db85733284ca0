"""The command lines of `mixit-jax`: names, meanings and defaults."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mixit_jax.stems import STEMS
from mixit_jax.version import __version__

Commands = argparse._SubParsersAction

# What the tensors of a PyTorch file may leave open.
TORCH_OVERRIDES = ("n_heads", "n_groups", "num_channels", "n_fft", "hop", "sample_rate")
# For which completions can be made.
SHELLS = ("bash", "zsh", "fish", "tcsh")


class Help(argparse.RawDescriptionHelpFormatter):
  """Help that fits a screen: `--flag=VALUE` and its meaning on one line if possible."""

  def __init__(self, prog: str):
    columns = shutil.get_terminal_size().columns
    super().__init__(prog, max_help_position=24, width=min(columns - 2, 100))

  def _format_action_invocation(self, action: argparse.Action) -> str:
    if not action.option_strings or action.nargs == 0:
      return super()._format_action_invocation(action)
    value = self._format_args(action, action.dest.upper().replace("_", "-"))
    separator = " " if isinstance(action.nargs, int) else "="
    return f"{', '.join(action.option_strings)}{separator}{value}"


def make_parser(description: str | None) -> argparse.ArgumentParser:
  """Make the parser; the command goes to `command`."""
  parser = argparse.ArgumentParser(
    prog="mixit-jax",
    usage="mixit-jax COMMAND [OPTION...]",
    description=description,
    formatter_class=Help,
    epilog="`mixit-jax COMMAND --help` tells more. Training is `python -m"
    " mixit_jax.main --help`.\n\nexample:\n"
    "  mixit-jax separate runs/finetune song.mp3 --out=stems",
  )
  parser.add_argument("--version", action="version", version=__version__)
  commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
  _separate(commands)
  _evaluate(commands)
  _select_channels(commands)
  _import_torch(commands)
  _export(commands)
  _status(commands)
  _plot(commands)
  _doctor(commands)
  _completion(commands)
  return parser


def flags_of(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
  """Yield the flags and arguments of all commands."""
  for command in _parsers(parser).values():
    yield from command._actions


def given(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
  """Return the flags among `names` whose values are not their defaults."""
  parser = _parsers(make_parser(None))[options.command]
  return [
    "RUN" if name == "model" else f"--{name.replace('_', '-')}"
    for name in names
    if getattr(options, name) != parser.get_default(name)
  ]


def _parsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
  """Return the parser of each command."""
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction):
      return dict(action.choices)
  return {}


def _separate(commands: Commands) -> None:
  parser = _command(
    commands,
    "separate",
    "separate recordings into stems",
    """Separate recordings into stems, each a file of the recording's rate and length:
DIR/<recording>/<stem>.wav. What fails is named, and the rest is separated.
Exit status: 0; 1 something was not separated; 2 wrong flags; 130 Ctrl-C.""",
    "RUN INPUT... --out=DIR [OPTION...]",
    "mixit-jax separate runs/finetune song.mp3 --out=stems --minus=vocals",
  )
  _model_argument(parser)
  add = parser.add_argument
  add(
    "inputs",
    nargs="+",
    type=Path,
    metavar="INPUT",
    help="file, folder, or - for standard input",
  )
  add("--out", type=Path, required=True, metavar="DIR", help="folder of the stems")
  add("--stems", metavar="A,B", help="write only these [all]")
  add(
    "--minus",
    default="",
    metavar="A,B",
    help="also write the recording without each [-]",
  )
  add(
    "--format",
    choices=("wav", "flac", "mp3", "ogg"),
    default="wav",
    metavar="F",
    help="wav, flac, mp3 or ogg [wav]",
  )
  add("--bits", metavar="B", help="float, 24 or 16 [wav: float, flac: 24]")
  add("--bitrate", type=int, metavar="N", help="of mp3, constant, kbit/s [256]")
  add(
    "--peaks",
    choices=("keep", "scale", "clip"),
    metavar="P",
    help="above full scale: keep, scale (all stems by one factor) or"
    " clip [24 and 16 bits: clip, others: keep]",
  )
  add(
    "--rate",
    choices=("input", "model"),
    default="input",
    metavar="R",
    help="of the stems, that of the input or the model [input]",
  )
  add("--downmix", action="store_true", help="take more channels than the model's [no]")
  add("--sum-to-mixture", action="store_true", help="make stems sum to the input [no]")
  add("--shifts", type=int, default=1, metavar="N", help="mean of N shifted passes [1]")
  add(
    "--also",
    action="append",
    default=[],
    type=Path,
    metavar="RUN",
    help="average with this run, too; repeatable [none]",
  )
  add("--shares", metavar="X,Y", help="of RUN and each --also in the average [equal]")
  add("--overwrite", action="store_true", help="replace stems that are there [keep]")
  add("--page", action="store_true", help="also write pages to listen, in DIR [no]")
  _quiet_option(parser)
  _chunk_options(parser)


def _evaluate(commands: Commands) -> None:
  parser = _command(
    commands,
    "evaluate",
    "score a model, or anybody's stems, on whole songs",
    """Score a run, or with --estimates anybody's stems, on songs with references:
uSDR and cSDR of each stem, with 95 % intervals over the songs. --compare shows how
two results differ. Exit status: 0; 1 a song could not be scored; 130 Ctrl-C.""",
    "[RUN] --songs=DIR [--estimates=DIR] [OPTION...]\n"
    "       mixit-jax evaluate --compare A.json B.json",
    "mixit-jax evaluate runs/finetune --songs=musdb18hq/test --json=scores.json",
  )
  _model_argument(parser, nargs="?")
  add = parser.add_argument
  add("--songs", type=Path, metavar="DIR", help="song folders with a file per stem")
  add(
    "--estimates",
    type=Path,
    metavar="DIR",
    help="score these stems, DIR/<song>/<stem>.wav, instead of a run",
  )
  add(
    "--stems",
    metavar="A,B",
    help="of the estimates, to score [those that most songs have]",
  )
  add(
    "--compare",
    nargs=2,
    type=Path,
    metavar=("A", "B"),
    help="differences of two files of --json, song by song",
  )
  add(
    "--json",
    type=Path,
    metavar="FILE",
    help="write all scores, after each song; started again, the same"
    " command goes on from there [-]",
  )
  add("--csv", type=Path, metavar="FILE", help="write a row per song and stem [-]")
  add("--per-song", action="store_true", help="print a table of songs, too [no]")
  _page_option(parser)
  add("--overwrite", action="store_true", help="forget what --json holds [go on]")
  _quiet_option(parser)
  add(
    "--jobs",
    type=int,
    metavar="N",
    help="songs at a time [a run: 1, estimates: one per processor]",
  )
  _chunk_options(parser)


def _select_channels(commands: Commands) -> None:
  parser = _command(
    commands,
    "select-channels",
    "see which outputs of a pre-trained model are the stems",
    "See which outputs of a pre-trained model are the stems, by votes of song chunks.",
    "RUN --songs=DIR [OPTION...]",
    "mixit-jax select-channels runs/pretrain --songs=data/musdb/valid",
  )
  _model_argument(parser)
  add = parser.add_argument
  add("--songs", type=Path, required=True, metavar="DIR", help="validation songs")
  add("--stems", metavar="A,B", help="names of the stems [those that most songs have]")
  add(
    "--seconds", type=float, default=6.0, metavar="S", help="length of the chunks [6]"
  )
  _precision_option(parser)
  add("--json", type=Path, metavar="FILE", help="result [RUN/channel_selection.json]")
  _page_option(parser)
  _quiet_option(parser)


def _import_torch(commands: Commands) -> None:
  parser = _command(
    commands,
    "import-torch",
    "make a folder of weights from a PyTorch file",
    """Make a folder of weights from a PyTorch file, such as the paper's. No code in the
file is executed. What its tensors leave open is asked for by name.""",
    "FILE --out=DIR [OPTION...]",
    "mixit-jax import-torch model.pth --out=runs/official",
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
  for name in TORCH_OVERRIDES:
    flag = f"--{name.replace('_', '-')}"
    add(flag, type=int, metavar="N", help="[what file or settings tell]")
  _card_options(parser)


def _export(commands: Commands) -> None:
  parser = _command(
    commands,
    "export",
    "make a folder of weights with a model card",
    "Make a folder of weights to pass on: settings, tensors and a model card.",
    "RUN --out=DIR [OPTION...]",
    'mixit-jax export runs/finetune --out=model --license="CC BY-NC 4.0"',
  )
  _model_argument(parser)
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
  _card_options(parser)


def _status(commands: Commands) -> None:
  parser = _command(
    commands,
    "status",
    "see how runs stand, while they train or later",
    "See how runs stand, while they train or later: steps, losses, time left.",
    "RUN... [--json]",
    "mixit-jax status runs/*",
  )
  add = parser.add_argument
  add("runs", nargs="+", type=Path, metavar="RUN", help="working directories of runs")
  add("--json", action="store_true", help="print a list of JSON objects instead [no]")


def _plot(commands: Commands) -> None:
  parser = _command(
    commands,
    "plot",
    "draw training curves, channel selections and scores",
    """Draw training curves of runs in one figure, the channel selection of each, and of
files of evaluate --json the scores of all songs. Needs the extra `plot`.""",
    "RUN|FILE... [OPTION...]",
    "mixit-jax plot runs/pretrain runs/finetune scores.json --out=plots",
  )
  add = parser.add_argument
  add(
    "sources",
    nargs="+",
    type=Path,
    metavar="RUN|FILE",
    help="runs, files of evaluate --json and of select-channels --json",
  )
  out = Path("plots")
  add("--out", type=Path, default=out, metavar="DIR", help="their folder [plots]")
  kinds = ("png", "svg")
  add("--format", choices=kinds, default="png", metavar="F", help="png or svg [png]")


def _doctor(commands: Commands) -> None:
  parser = _command(
    commands,
    "doctor",
    "see whether machine and data are ready, or what a run will need",
    """See whether this machine is ready: devices, decoding, a little training. With
--config, compile the step of a run for its memory and hours; no data is read. With
--data, read prepared data as a run would, and name what is damaged.""",
    "[--config=FILE] [--config.KEY=...] [--data=DIR] [OPTION...]",
    "mixit-jax doctor --config=configs/pretrain.py:medium --topology=v5e:4x4",
  )
  add = parser.add_argument
  add(
    "--data",
    metavar="DIR",
    help="some records of each shard and every validation song, in a minute; several"
    " folders are separated by commas [only look at the machine]",
  )
  add("--data-all", action="store_true", help="read every record of --data [some]")
  add(
    "--config",
    metavar="FILE",
    help="FILE or FILE:NAME, with overrides as in training, such as"
    " --config.run.batch=32 [only look at the machine]",
  )
  add(
    "--topology",
    metavar="KIND:SHAPE",
    help="of devices that are not here, such as v5e:4x4 or h100:8 [those"
    " of this machine]",
  )
  add(
    "--utilization",
    type=float,
    default=45,
    metavar="PERCENT",
    help="of the peak, that the run is assumed to reach [45]",
  )
  add(
    "--peak-tflops",
    type=float,
    metavar="X",
    help="peak of each device in TFLOP/s [what is known of its kind]",
  )


def _completion(commands: Commands) -> None:
  parser = _command(
    commands,
    "completion",
    "let a shell complete commands and flags",
    """Print a script that lets a shell complete commands, flags and their values. Put
the line below into ~/.bashrc; for zsh, save the script as _mixit-jax in $fpath.""",
    "SHELL",
    'eval "$(mixit-jax completion bash)"',
  )
  parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def _command(
  commands: Commands, name: str, short: str, text: str, usage: str, example: str
) -> argparse.ArgumentParser:
  return commands.add_parser(
    name,
    help=short,
    usage=f"mixit-jax {name} {usage}",
    description=text,
    epilog=f"example:\n  {example}",
    formatter_class=Help,
  )


def _model_argument(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
  parser.add_argument(
    "model", type=Path, metavar="RUN", nargs=nargs, help="run or folder of weights"
  )
  parser.add_argument(
    "--weights",
    default="mean",
    metavar="W",
    help="of a run: mean (of the best), best, latest, ema or a step [mean]",
  )


def _chunk_options(parser: argparse.ArgumentParser) -> None:
  add = parser.add_argument
  add("--chunk", type=float, default=12.0, metavar="S", help="length in seconds [12]")
  add("--hop", type=float, default=6.0, metavar="S", help="from chunk to chunk [6]")
  add(
    "--window",
    choices=("mean", "triangle", "hann"),
    default="mean",
    metavar="W",
    help="weights in overlaps: mean, triangle or hann [mean]",
  )
  add(
    "--batch",
    type=int,
    metavar="N",
    help="chunks at a time on each device [1 on a CPU, else by its memory]",
  )
  _precision_option(parser)


def _precision_option(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--precision",
    choices=("float32", "bfloat16"),
    metavar="P",
    help="float32 or bfloat16 [as the model's configuration says]",
  )


def _page_option(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--page", type=Path, metavar="DIR", help="write pages to listen to the songs [-]"
  )


def _quiet_option(parser: argparse.ArgumentParser) -> None:
  parser.add_argument("--quiet", action="store_true", help="show only problems [no]")


def _card_options(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--license", default="", metavar="TEXT", help="of the weights, for the card [-]"
  )
  parser.add_argument(
    "--training-data",
    default="",
    metavar="TEXT",
    help="for the card [what the weights state]",
  )
