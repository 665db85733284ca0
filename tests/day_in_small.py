"""A day in small: a run that is killed, stopped, refused and moved for some minutes.

    python tests/day_in_small.py --minutes=15

Two runs train on the same tiny data set: one undisturbed, the other through accidents
drawn at random (SIGKILL, SIGTERM, a closed terminal, a full disk, a second start in the
same folder, a refused change) until the time is over. Both must end with the same
metrics and weights, to the bit. Then the run moves to another number of devices, and
the card of its export must tell every start that its checkpoint has seen.
"""

import argparse
import random
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from training.lives import OVERRIDES, Life, assert_same_end, live
from training.tiny import write_music

from mixit_jax.console import DONE, FAILED, STOPPED
from mixit_jax.inference.exporting import export
from mixit_jax.weights.folder import load_description
from mixit_jax.weights.runs import checkpoint_steps, load_params, read_meta

HABITS = OVERRIDES | {"run.steps_per_epoch": 50, "run.save_every": 5}

# No file may become larger than this many blocks: a disk that is full in a save.
FULL = ("sh", "-c", 'ulimit -f 300; exec "$@"', "sh")


class Day:
  """The disturbed run, and what has happened to it."""

  def __init__(self, music: Path, run: Path, steps: int, seed: int):
    self.music, self.run, self.steps = music, run, steps
    self.draws = random.Random(seed)
    self.happened: Counter[str] = Counter()

  def life(self, **options) -> Life:
    base = HABITS | {"run.steps": self.steps}
    return Life(self.music, self.run, base=base, **options)

  def accident(self) -> None:
    """One life with an accident of its own."""
    kinds = ("kill", "term", "hangup", "full disk", "second start", "refused change")
    kind = self.draws.choice(kinds)
    self.happened[kind] += 1
    getattr(self, kind.replace(" ", "_"))()

  def kill(self) -> None:
    with self.life() as life:
      self._train(life)
      life.process.kill()
      life.process.wait()

  def term(self) -> None:
    self._signal(signal.SIGTERM)

  def hangup(self) -> None:
    self._signal(signal.SIGHUP)

  def full_disk(self) -> None:
    with self.life(prefix=FULL) as life:
      assert "could not be written" in life.wait(FAILED)

  def second_start(self) -> None:
    with self.life() as life:
      self._train(life)
      with self.life(log="second") as second:
        assert "is in use by process" in second.wait(FAILED)
      life.process.kill()
      life.process.wait()

  def refused_change(self) -> None:
    before = self._content()
    with self.life(overrides={"data.seed": 1}) as life:
      assert "data.seed: 0 -> 1" in life.wait(FAILED)
    assert self._content() == before

  def _signal(self, number: int) -> None:
    with self.life() as life:
      self._train(life)
      life.process.send_signal(number)
      status = life.process.wait()
      assert status in (DONE, STOPPED), life.log[-2000:]

  def _train(self, life: Life) -> None:
    life.wait_for(life.said("train step"))
    end = time.monotonic() + self.draws.uniform(0, 4)
    life.wait_for(lambda: time.monotonic() > end)

  def _content(self) -> dict[Path, bytes]:
    files = (p for p in self.run.rglob("*") if p.is_file() and ".owner" not in p.name)
    return {path: path.read_bytes() for path in files}


def main() -> None:
  """Live through the day and report."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--minutes", type=float, default=15)
  parser.add_argument("--steps", type=int, default=1000, help="of the runs")
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  begun = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    music = write_music(Path(folder) / "music")
    runs = Path(folder) / "runs"
    runs.mkdir()
    day = Day(music, runs / "disturbed", flags.steps, flags.seed)
    with day.life() as life:  # so that there is something to refuse
      life.wait_for(lambda: bool(checkpoint_steps(day.run)))
      life.process.kill()
      life.process.wait()
    end = begun + 60 * flags.minutes
    while time.monotonic() < end and checkpoint_steps(day.run)[-1] < flags.steps:
      day.accident()
    base = HABITS | {"run.steps": flags.steps}
    live(music, day.run, base=base)
    live(music, runs / "undisturbed", base=base)
    assert_same_end(day.run, runs / "undisturbed")
    starts = read_meta(day.run, flags.steps)["starts"]
    print(f"same bits after {dict(day.happened)}; {len(starts)} starts recorded")

    longer = HABITS | {"run.steps": flags.steps + 10}
    live(music, day.run, base=longer, devices=2)
    live(music, runs / "undisturbed", base=longer)
    pairs = (
      load_params(run, [flags.steps + 10]) for run in (day.run, runs / "undisturbed")
    )
    ours, theirs = (np.concatenate([x.ravel() for x in _leaves(p)]) for p in pairs)
    print(
      f"on 2 devices: parameters differ by {np.abs(ours - theirs).max():.1e} at most"
    )

    export(day.run, Path(folder) / "model", "latest")
    card = load_description(Path(folder) / "model").card
    (stage,) = card["stages"]
    text = (Path(folder) / "model" / "README.md").read_text()
    assert stage["starts"][:-1] == starts
    assert stage["starts"][-1]["devices"] == "2 x cpu"
    for start in stage["starts"]:
      assert f"- step {start['step']}, {start['time']}" in text
    assert "data.seed" not in text  # what was refused has left no trace
    print(f"the card tells all {len(stage['starts'])} starts")
  print(f"{(time.monotonic() - begun) / 60:.1f} minutes")


def _leaves(tree):
  for value in tree.values():
    yield from _leaves(value) if isinstance(value, dict) else [value]


if __name__ == "__main__":
  main()
