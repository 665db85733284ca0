"""Which file of a song is which stem, and what to do where names do not say so."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from data_prep.shards import printable
from mixit_jax.audio.files import AUDIO_SUFFIXES
from mixit_jax.data.manifest import SkippedFile
from mixit_jax.errors import UserError
from mixit_jax.stems import MIXTURE, in_order, name_problem

Several = Literal["stop", "skip", "sum"]
Missing = Literal["stop", "skip", "silence"]
Extra = Literal["ignore", "skip", "stop"]
Misaligned = Literal["skip", "stop", "align"]
Mixture = Literal["keep", "skip", "stop", "sum"]

_DONE = {"sum": "summed", "silence": "taken as silence", "ignore": "ignored"}
# Songs that one message names.
_NAMED = 3
# A number behind the name of a stem, such as that of `guitar 2.wav`.
_NUMBER = re.compile(r"(?<=\D)[ _.-]*\d{1,3}$")


@dataclass(frozen=True)
class Rules:
  """What is done with songs that are not as expected; see `--help` of `musdb`."""

  several: Several = "stop"
  missing: Missing = "stop"
  extra: Extra = "ignore"
  misaligned: Misaligned = "skip"
  mixture: Mixture = "keep"


# Choices and meaning of the flag of each rule.
MEANINGS = {
  "several": (get_args(Several), "several files of one stem, such as guitar 1.wav"),
  "missing": (get_args(Missing), "a song without a file for a stem"),
  "extra": (get_args(Extra), "an audio file that is no stem"),
  "misaligned": (get_args(Misaligned), "stems of unequal length, or shifted"),
  "mixture": (get_args(Mixture), "a mixture that is not the sum of its stems"),
}


@dataclass(frozen=True)
class SongFiles:
  """The files of a song.

  Attributes:
    folder: its folder.
    name: how messages and the manifest call it, such as `train/My Song`.
    stems: pairs of stem and its files, in the order of the stems; the files of a stem
      are summed, none is silence.
    mixture: file of the mixture, or "".
    extra: audio files that are neither.
  """

  folder: Path
  name: str
  stems: tuple[tuple[str, tuple[str, ...]], ...]
  mixture: str
  extra: tuple[str, ...]

  @property
  def files(self) -> tuple[str, ...]:
    """The files of the stems, in their order."""
    return tuple(file for _, files in self.stems for file in files)


def find_stems(songs: Sequence[Path]) -> tuple[str, ...]:
  """Find the names of the stems from those of the files, on which all songs agree.

  Files that differ in a number behind the name belong to one stem.

  Raises:
    UserError: the songs do not agree, or a name cannot be that of a stem.
  """
  found = {song: frozenset(_base(n) for n in audio_names(song)) for song in songs}
  found = {song: names - {MIXTURE} for song, names in found.items()}
  [(usual, count)] = Counter(found.values()).most_common(1)
  if count < len(songs):
    others = [
      f"{song.name} "
      + " and ".join(
        f"{verb} {', '.join(sorted(names))}"
        for verb, names in (("lacks", usual - stems), ("has", stems - usual))
        if names
      )
      for song, stems in found.items()
      if stems != usual
    ]
    raise UserError(
      f"the songs do not agree on their stems: {count} of {len(songs)} have "
      f"{', '.join(in_order(usual))}, but {_some(others)}; name the stems with "
      "--stems=NAME,NAME"
    )
  return in_order(usual)


def check_names(stems: Sequence[str]) -> None:
  """Raise a UserError unless these can be the names of stems."""
  problem = name_problem(stems)
  if problem is None and {"valid", "checks"} & {stem.casefold() for stem in stems}:
    problem = "valid and checks are names of folders of the result"
  if problem is None and not stems:
    problem = "expected at least one name"
  if problem:
    raise UserError(f"--stems={','.join(stems)}: {problem}; rename the files")


def sort_files(song: Path, name: str, stems: Sequence[str]) -> SongFiles:
  """Find the files of the stems, without regard to case.

  A file belongs to the stem of its name. One that has no stem of its own but for a
  number behind its name belongs to that one.

  Args:
    song: folder of the song.
    name: how messages call it.
    stems: names of the stems.
  """
  by_name = {_plain(stem): stem for stem in (*stems, MIXTURE)}
  sorted_files: dict[str, list[str]] = {stem: [] for stem in (*stems, MIXTURE)}
  extra = []
  for file in audio_files(song):
    plain = _plain(Path(file).stem)
    stem = by_name.get(plain) or by_name.get(_base(plain))
    if stem is None:
      extra.append(file)
    else:
      sorted_files[stem].append(file)
  mixture = sorted_files.pop(MIXTURE)
  if len(mixture) > 1:
    raise UserError(f"{song}: has {' and '.join(mixture)}; keep one of them")
  return SongFiles(
    song,
    name,
    tuple((stem, tuple(files)) for stem, files in sorted_files.items()),
    mixture[0] if mixture else "",
    tuple(extra),
  )


def apply_rules(
  songs: Iterable[SongFiles], rules: Rules
) -> tuple[list[SongFiles], list[SkippedFile], list[str]]:
  """Decide about songs whose names are not as expected.

  Returns:
    the songs that stay, those that are left out with the reason, and what to tell.

  Raises:
    UserError: a rule is "stop" and a song is against it.
  """
  stay: list[SongFiles] = []
  skipped: list[SkippedFile] = []
  said: list[str] = []
  against: dict[str, list[str]] = {"several": [], "missing": [], "extra": []}
  for song in songs:
    problems = _problems(song)
    reasons = []
    for kind, problem in problems.items():
      rule = getattr(rules, kind)
      if rule == "stop":
        against[kind].append(f"{song.name} {problem}")
      elif rule == "skip":
        reasons.append(problem)
      done = "left out" if rule == "skip" else _DONE.get(rule, "")
      said.append(f"{song.name}: {done}: {problem} (--{kind})")
    if reasons:
      skipped.append({"file": printable(song.name), "reason": "; ".join(reasons)})
    else:
      stay.append(song)
  for kind, stopped in against.items():
    if stopped:
      raise UserError(stop_message(kind, stopped))
  return stay, skipped, said


def stop_message(kind: str, problems: Sequence[str]) -> str:
  """Say which songs are against a rule, and which flag decides otherwise."""
  choices = [f"--{kind}={choice}" for choice in MEANINGS[kind][0] if choice != "stop"]
  return f"{_some(problems)}; mend it, or choose {' or '.join(choices)} (see --help)"


def audio_files(song: Path) -> list[str]:
  """List the names of the audio files in a folder."""
  return sorted(
    path.name
    for path in song.iterdir()
    if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".")
  )


def audio_names(song: Path) -> list[str]:
  """List the names of the audio files in a folder in lower case, without suffixes."""
  return [_plain(Path(file).stem) for file in audio_files(song)]


def _problems(song: SongFiles) -> dict[str, str]:
  """Say what is odd about the names of a song, by the rule that decides about it."""
  problems = {}
  several = [f"{len(f)} files of {s} ({', '.join(f)})" for s, f in song.stems if f[1:]]
  missing = [stem for stem, files in song.stems if not files]
  if several:
    problems["several"] = f"has {' and '.join(several)}"
  if missing:
    problems["missing"] = f"lacks a file for {', '.join(missing)}"
  if song.extra:
    problems["extra"] = f"has {', '.join(song.extra)}, which is no stem"
  return problems


def _plain(name: str) -> str:
  """Return a name in the one form in which names are compared."""
  return unicodedata.normalize("NFC", name).casefold().strip()


def _base(name: str) -> str:
  """Return a name without the number behind it."""
  return _NUMBER.sub("", name)


def _some(texts: Sequence[str]) -> str:
  more = len(texts) - _NAMED
  return "; ".join(texts[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
