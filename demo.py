"""The whole recipe in miniature: `make demo`.

Makes synthetic songs, prepares them, pre-trains with MixIT, selects channels,
fine-tunes, scores held-out songs and separates one, all through the public commands,
which it prints. Results: a table, `runs/demo/scores.json`, stems in `runs/demo/stems`.
The same command run again after an interruption resumes it.
"""

import json
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

from mixit_jax.files import write_json

RUN = Path("runs/demo")
MUSIC = RUN / "music"
PYTHON = sys.executable
COMMAND = [PYTHON, "-m", "mixit_jax.cli"]
TRAIN = [PYTHON, "-m", "mixit_jax.main"]

SHAPE = ["--sample-rate=8000", "--seconds=6", "--hop=3"]

STAGES = {
  "songs": [
    PYTHON,
    "-m",
    "data_prep.synthetic",
    f"--out={MUSIC}",
    "--sample-rate=8000",
  ],
  "prepare_unlabeled": [
    PYTHON,
    "-m",
    "data_prep.fma",
    f"--audio={MUSIC}/unlabeled",
    f"--out={RUN}/fma",
    *SHAPE,
  ],
  "prepare_stems": [
    PYTHON,
    "-m",
    "data_prep.musdb",
    f"--musdb={MUSIC}",
    f"--out={RUN}/musdb",
    *SHAPE,
  ],
  "pretrain": [
    *TRAIN,
    "--config=configs/demo.py:pretrain",
    f"--workdir={RUN}/pretrain",
    f"--config.data.shards={RUN}/fma",
  ],
  "select_channels": [
    *COMMAND,
    "select-channels",
    f"{RUN}/pretrain",
    f"--songs={RUN}/musdb/valid",
  ],
  "finetune": [
    *TRAIN,
    "--config=configs/demo.py:finetune",
    f"--workdir={RUN}/finetune",
    f"--config.data.shards={RUN}/musdb",
    f"--config.init.run={RUN}/pretrain",
  ],
  "evaluate": [
    *COMMAND,
    "evaluate",
    f"{RUN}/finetune",
    f"--songs={MUSIC}/test",
    f"--json={RUN}/evaluation.json",
  ],
}


def main() -> int:
  """Run every stage; return the status of the first that fails, or 0."""
  seconds: dict[str, float] = {}
  for name, command in STAGES.items():
    if status := run(name, command, seconds):
      return status
  song = min((MUSIC / "test").iterdir()) / "mixture.wav"
  separate = [*COMMAND, "separate", f"{RUN}/finetune", str(song), f"--out={RUN}/stems"]
  if status := run("separate", separate, seconds):
    return status
  write_scores(seconds)
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


def write_scores(seconds: dict[str, float]) -> None:
  """Collect what the stages measured in `scores.json`."""
  evaluation = json.loads((RUN / "evaluation.json").read_text())
  validations = [
    json.loads(line)
    for line in (RUN / "pretrain/metrics.jsonl").read_text().splitlines()
  ]
  last = [line for line in validations if line["group"] == "valid"][-1]
  # Kilobytes on Linux, bytes on macOS; of the largest single process.
  unit = 1 if sys.platform == "darwin" else 1024
  peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 2**30
  scores = {
    **{key: evaluation[key] for key in ("estimates", "mixture")},
    "average_improvement_db": evaluation["average_improvement_db"],
    "pretraining": {
      "valid_loss_db": last["loss"],
      "improvement_over_trivial_outputs_db": last["improvement_db"],
    },
    "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
    "largest_process_gib": round(peak, 2),
  }
  write_json(RUN / "scores.json", scores)
  print(
    f"\nMixIT on validation mixes: {last['improvement_db']:.2f} dB better than trivial "
    f"outputs.\nAverage improvement over the mixture on held-out songs: "
    f"{evaluation['average_improvement_db']:.2f} dB uSDR, in "
    f"{scores['seconds']['total']:.0f} s.\nScores: {RUN}/scores.json   "
    f"Stems: {RUN}/stems"
  )


if __name__ == "__main__":
  sys.exit(main())
