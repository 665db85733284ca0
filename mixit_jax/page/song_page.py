"""The page of one song: written while its audio comes by, it appears at the end."""

import base64
import contextlib
import dataclasses
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mixit_jax.audio.writing import AudioWriter, writing
from mixit_jax.errors import UserError
from mixit_jax.files import replacing, write_json
from mixit_jax.page.document import (
  PAGE,
  asset,
  check_page,
  fill,
  link,
  script_safe,
  shown,
)
from mixit_jax.page.pictures import Pictures, frequency_marks, spectrogram_image
from mixit_jax.page.segments import (
  MARGIN_SECONDS,
  SEGMENT_SECONDS,
  Segments,
  check_audio,
)

PARTS = "page"  # folder beside the page, with what it shows and plays
SUMMARY = "summary.json"

# "stem": what a separation is made of, its parts sum to the mixture. "rest": a mixture
# without a stem.
Kind = Literal["mixture", "stem", "reference", "rest"]
_KINDS: tuple[Kind, ...] = ("mixture", "stem", "reference", "rest")
_COLORS = 8  # of tracks, beside that of mixtures


class Fact(NamedTuple):
  """Something known about a track or a song, such as a score.

  Attributes:
    label: what it is, in a word.
    value: in words or numbers, with its unit.
    meaning: a sentence that explains it.
  """

  label: str
  value: str
  meaning: str = ""


def decibels(value: float, sign: str = "-") -> str:
  """Return a level as a text; with the sign "+" also positive ones have one."""
  return f"{value:{sign}.1f} dB".replace("-", "\N{MINUS SIGN}")


@dataclasses.dataclass(frozen=True)
class Track:
  """A track of a page.

  Attributes:
    name: shown, and different for all tracks.
    kind: what it is.
    of: name of the stem that a reference belongs to: it is shown below.
    file: to link, in the folder of the page or below; None to write one.
  """

  name: str
  kind: Kind
  of: str = ""
  file: Path | None = None


@dataclasses.dataclass(frozen=True)
class Captions:
  """What is known when all audio has come by.

  Attributes:
    song: facts about the song.
    tracks: facts about tracks, by their names.
    by_energy: whether stems are sorted, the loudest first, as is right for outputs
      that have no names.
    overview: folder of the page that lists all songs; None if there is none.
  """

  song: Sequence[Fact] = ()
  tracks: Mapping[str, Sequence[Fact]] = dataclasses.field(default_factory=dict)
  by_energy: bool = False
  overview: Path | None = None


class SongPage:
  """Takes the audio of a song; see `song_page`.

  Attributes:
    captions: what is known of the song, up to the end.
  """

  def __init__(
    self,
    folder: Path,
    parts: Path,
    title: str,
    tracks: Sequence[Track],
    sample_rate: int,
    num_channels: int,
    length: int,
    writers: Mapping[str, AudioWriter],
  ):
    self.captions = Captions()
    self._folder, self._parts = folder, parts
    self._title, self._tracks = title, tracks
    self._rate, self._channels, self._length = sample_rate, num_channels, length
    self._writers = writers
    self._segments = Segments(parts / "audio", sample_rate, length)
    self._pictures = [Pictures(sample_rate, num_channels, length) for _ in tracks]

  def add(self, block: np.ndarray) -> None:
    """Take the audio of all tracks [K, C, l], in order."""
    for pictures, track, audio in zip(self._pictures, self._tracks, block, strict=True):
      pictures.add(audio)
      if writer := self._writers.get(track.name):
        writer.write(audio)
    self._segments.add(block)

  def finish(self) -> str:
    """Draw the pictures; return the page."""
    for pictures in self._pictures:
      pictures.finish()
    powers = [pictures.spectrogram() for pictures in self._pictures]
    loudest = max(float(power.max()) for power in powers)
    for number, power in enumerate(powers):
      image = spectrogram_image(power, loudest)
      image.save(self._parts / f"{number:02}.png", optimize=True)
    document = self._document()
    write_json(
      self._parts / SUMMARY,
      {key: document[key] for key in ("title", "seconds", "facts")}
      | {"waveform": document["tracks"][0]["waveform"]},
    )
    return fill(
      "song.html",
      title=shown(self._title),
      data=script_safe(document),
      style=asset("style.css"),
      script="\n".join(map(asset, ("theme.js", "player.js", "view.js"))),
    )

  def _document(self) -> dict[str, Any]:
    captions = self.captions
    back = captions.overview and os.path.relpath(captions.overview, self._folder)
    waveforms = [pictures.waveform() for pictures in self._pictures]
    peak = max(float(np.abs(waveform).max()) for waveform in waveforms) or 1.0
    order = self._order()
    return {
      "title": shown(self._title),
      "seconds": self._length / self._rate,
      "rate": self._rate,
      "segment": SEGMENT_SECONDS,
      "margin": round(MARGIN_SECONDS * self._rate) / self._rate,
      "facts": [fact._asdict() for fact in captions.song],
      "overview": None if back is None else f"{link(back)}/{PAGE}",
      "marks": frequency_marks(self._rate),
      "tracks": [
        self._track(number, color, waveforms[number] / peak) for number, color in order
      ],
    }

  def _order(self) -> list[tuple[int, int]]:
    """Return the tracks as they are shown, with the color of each.

    A reference follows its stem and has its color.
    """
    numbers = sorted(range(len(self._tracks)), key=self._rank)
    places = {self._tracks[number].name: i for i, number in enumerate(numbers)}

    def place(number: int) -> tuple[int, int]:
      own = places[self._tracks[number].name]
      return places.get(self._tracks[number].of, own), own

    numbers.sort(key=place)
    colors: dict[str, int] = {}
    for number in numbers:
      track = self._tracks[number]
      if track.kind != "mixture":
        used = len(set(colors.values()))
        colors[track.name] = colors.get(track.of, used % _COLORS + 1)
    return [(number, colors.get(self._tracks[number].name, 0)) for number in numbers]

  def _rank(self, number: int) -> tuple[int, float]:
    by_energy = self.captions.by_energy
    kind = _KINDS.index(self._tracks[number].kind)
    return kind, -self._pictures[number].energy if by_energy else number

  def _track(self, number: int, color: int, waveform: np.ndarray) -> dict[str, Any]:
    track = self._tracks[number]
    file = track.file or self._folder / PARTS / _file_name(number)
    mean = self._pictures[number].energy / (self._length * self._channels)
    level = decibels(10 * math.log10(mean)) if mean > 1e-12 else "silent"
    facts = [
      *self.captions.tracks.get(track.name, ()),
      Fact("level", level, "Root mean square; full scale is 0 dB."),
    ]
    return {
      "name": track.name,
      "kind": track.kind,
      "color": color,
      "channel": number,
      "file": link(os.path.relpath(file, self._folder)),
      "picture": f"{PARTS}/{number:02}.png",
      "waveform": _packed(waveform),
      "facts": [fact._asdict() for fact in facts],
    }


@contextlib.contextmanager
def song_page(
  folder: Path,
  title: str,
  tracks: Sequence[Track],
  sample_rate: int,
  num_channels: int,
  length: int,
) -> Iterator[SongPage]:
  """Write `folder/index.html` and `folder/page`; they appear at the end.

  Args:
    folder: of the page; a page that is there already is replaced.
    title: name of the song.
    tracks: the K tracks.
    sample_rate: of their audio, in Hz.
    num_channels: channels C of their audio, one or two.
    length: samples L of each.

  Yields:
    what takes their audio. Its `captions` may be set before the end.

  Raises:
    UserError: the folder is not writable, something else has the name of the page, or
      the audio cannot be put on a page.
  """
  page, parts = folder / PAGE, folder / PARTS
  temporary = folder / f".{PARTS}.{os.getpid()}.tmp"
  check_audio(sample_rate, num_channels)
  check_page(folder)
  if parts.exists() and not (parts / SUMMARY).is_file():
    raise UserError(f"{parts} is there already and is not of a page; move it away")
  try:
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
      writers = {
        track.name: stack.enter_context(
          writing(temporary / _file_name(number), sample_rate, num_channels, length)
        )
        for number, track in enumerate(tracks)
        if track.file is None
      }
      song = SongPage(
        folder, temporary, title, tracks, sample_rate, num_channels, length, writers
      )
      yield song
    text = song.finish()
    # Never a page whose parts are those of another.
    page.unlink(missing_ok=True)
    shutil.rmtree(parts, ignore_errors=True)
    temporary.replace(parts)
    with replacing(page) as unfinished:
      unfinished.write_text(text, "utf-8")
  except OSError as error:
    raise UserError(f"{page} cannot be written: {error.strerror}") from error
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def is_page(folder: Path) -> bool:
  """Tell whether a folder holds the page of a song."""
  return (folder / PAGE).is_file() and (folder / PARTS / SUMMARY).is_file()


def _file_name(number: int) -> str:
  return f"{number:02}.ogg"


def _packed(waveform: np.ndarray) -> str:
  """Pack [3, columns] within [-1, 1] as signed bytes, column after column."""
  values = np.round(np.clip(waveform, -1, 1) * 127).astype(np.int8)
  return base64.b64encode(np.ascontiguousarray(values.T).tobytes()).decode()
