"""The whole recipe in miniature: `make demo`.

Makes synthetic songs, prepares them, pre-trains with MixIT on those without stems, sums
its outputs up to stems and fine-tunes on two songs with stems. The same network is
trained on these two from scratch. Both are scored on the same held-out songs, and a
song is separated. All of it goes through the public commands, which it prints. Results:
tables, `runs/demo/scores.json`, stems in `runs/demo/stems`. The same command run again
after an interruption resumes it.
"""

import json
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mixit_jax.files import read_json, write_json

RUN = Path("runs/demo")
MUSIC = RUN / "music"
PYTHON = sys.executable
COMMAND = [PYTHON, "-m", "mixit_jax.cli"]
TRAIN = [PYTHON, "-m", "mixit_jax.main"]

# From random parameters, and pre-trained.
ARMS = ("scratch", "finetune")
SHAPE = ["--sample-rate=8000", "--seconds=6", "--hop=3"]


def train(stage: str, shards: str, *flags: str) -> list[str]:
  """Return the command that trains a stage of the recipe on prepared data."""
  files = [f"--config=configs/demo.py:{stage}", f"--workdir={RUN}/{stage}"]
  return [*TRAIN, *files, f"--config.data.shards={RUN}/{shards}", *flags]


def evaluate(arm: str) -> list[str]:
  """Return the command that scores the model of an arm on the test songs."""
  songs = [f"--songs={MUSIC}/test", f"--json={RUN}/{arm}.json"]
  return [*COMMAND, "evaluate", f"{RUN}/{arm}", *songs]


STAGES = {
  "songs": [
    *(PYTHON, "-m", "data_prep.synthetic"),
    f"--out={MUSIC}",
    "--sample-rate=8000",
    *("--train-songs=2", "--valid-songs=3", "--test-songs=12", "--mixes=320"),
    # Half of the parts of the test songs are played on instruments that sound in mixes,
    # but in no song with stems.
    "--test-instruments=heard",
  ],
  "prepare_unlabeled": [
    *(PYTHON, "-m", "data_prep.fma"),
    f"--audio={MUSIC}/unlabeled",
    f"--out={RUN}/fma",
    *SHAPE,
  ],
  "prepare_stems": [
    *(PYTHON, "-m", "data_prep.musdb"),
    f"--musdb={MUSIC}",
    f"--out={RUN}/musdb",
    *SHAPE,
  ],
  "pretrain": train("pretrain", "fma"),
  "select_channels": [
    *COMMAND,
    "select-channels",
    f"{RUN}/pretrain",
    f"--songs={RUN}/musdb/valid",
    *("--weights=best", "--seconds=4"),
  ],
  "finetune": train("finetune", "musdb", f"--config.init.run={RUN}/pretrain"),
  "scratch": train("scratch", "musdb"),
  "evaluate_scratch": evaluate("scratch"),
  "evaluate_finetune": evaluate("finetune"),
  "separate": [
    *COMMAND,
    "separate",
    f"{RUN}/finetune",
    f"{MUSIC}/test/song-01/mixture.wav",
    f"--out={RUN}/stems",
  ],
  "compare": [
    *(*COMMAND, "evaluate", "--compare"),
    *(f"{RUN}/{arm}.json" for arm in ARMS),
    f"--json={RUN}/comparison.json",
    "--overwrite",
  ],
}


def main() -> int:
  """Run every stage; return the status of the first that fails, or 0."""
  seconds: dict[str, float] = {}
  for name, command in STAGES.items():
    if status := run(name, command, seconds):
      return status
  scores = collect(seconds)
  write_json(RUN / "scores.json", scores)
  print(summary(scores))
  return 0


def run(name: str, command: list[str], seconds: dict[str, float]) -> int:
  """Run one command and note its time."""
  shown = ["python" if part == PYTHON else part for part in command]
  print(f"\n== {name}\n$ {shlex.join(shown)}", flush=True)
  begun = time.perf_counter()
  status = subprocess.run(command, check=False).returncode
  seconds[name] = round(time.perf_counter() - begun, 1)
  if status:
    print(f"{name} failed with status {status}", file=sys.stderr)
  return status


def collect(seconds: dict[str, float]) -> dict[str, Any]:
  """Return what the stages measured; scores are averages over stems in dB."""
  last = [
    line
    for line in map(
      json.loads, (RUN / "pretrain/metrics.jsonl").read_text().splitlines()
    )
    if line["group"] == "valid"
  ][-1]
  evaluations = {arm: read_json(RUN / f"{arm}.json") for arm in ARMS}
  comparison = read_json(RUN / "comparison.json")
  # Kilobytes on Linux, bytes on macOS; of the largest single process.
  unit = 1 if sys.platform == "darwin" else 1024
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**30
  return {
    "mixture": evaluations["scratch"]["mixture"],
    **{arm: evaluations[arm]["estimates"] for arm in ARMS},
    "finetune_minus_scratch": comparison["differences"],
    "pretraining": {
      "valid_loss_db": last["loss"],
      "improvement_over_trivial_outputs_db": last["improvement_db"],
    },
    "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
    "largest_process_gib": round(peak, 2),
  }


def summary(scores: dict[str, Any]) -> str:
  """Say in a few lines what came out, whatever it is."""
  gain = scores["finetune_minus_scratch"]["usdr_mdx"]["average"]
  low, high = gain["interval"]
  verdict = (
    "Pre-training helped."
    if low > 0
    else "That is no clear gain: `make evidence` measures it with more seeds."
  )
  trivial = scores["pretraining"]["improvement_over_trivial_outputs_db"]
  return f"""
MixIT on validation mixes: {trivial:.2f} dB better than trivial outputs.
Two songs with stems, {gain["songs"]} held-out songs, average uSDR:
  mixture, unprocessed  {scores["mixture"]["usdr_mdx"]["average"]:6.2f} dB
  from scratch          {gain["first"]:6.2f} dB
  pre-trained           {gain["second"]:6.2f} dB
  difference            {gain["difference"]:+6.2f} dB  (95 % interval over the songs \
{low:+.2f} to {high:+.2f})
{verdict} In {scores["seconds"]["total"]:.0f} s.
Scores: {RUN}/scores.json   Stems: {RUN}/stems"""


if __name__ == "__main__":
  sys.exit(main())
