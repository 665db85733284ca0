"""Which songs are for training and which for validation."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from data_prep.song_files import audio_files
from data_prep.splits import split_by_hash
from mixit_jax.errors import UserError

# The validation songs of the paper, section 4.1, and of most others.
VALID_SONGS = (
  "Actions - One Minute Smile",
  "Clara Berry And Wooldog - Waltz For My Victims",
  "Johnny Lokke - Promises & Lies",
  "Patrick Talbot - A Reason To Leave",
  "Triviul - Angelsaint",
  "Alexander Ross - Goodbye Bolero",
  "Fergessen - Nos Palpitants",
  "Leaf - Summerghost",
  "Skelpolu - Human Mistakes",
  "Young Griffo - Pennies",
  "ANiMAL - Rockshow",
  "James May - On The Line",
  "Meaxic - Take A Step",
  "Traffic Experiment - Sirens",
)


def split_songs(
  folder: Path, named: Sequence[str], valid_share: float
) -> tuple[list[Path], list[Path]]:
  """Return the folders of the songs for training and for validation.

  Training songs lie in train/, or in the folder itself. Validation songs are those of
  valid/, else those that are named, else those of the usual 14 that are present, else
  a share of the songs by a hash of their names.

  Args:
    folder: folder of the songs.
    named: values of --valid-songs.
    valid_share: share for validation where neither names nor folders tell.

  Raises:
    UserError: there is no song, or none for training.
  """
  if not folder.is_dir():
    raise UserError(f"{folder}: not found; give the folder of the songs")
  train = folder / "train" if (folder / "train").is_dir() else folder
  songs = _songs_in(train)
  if train != folder and (folder / "valid").is_dir():
    if named:
      raise UserError(
        f"{folder / 'valid'}: holds the validation songs; omit --valid-songs, or move"
        " this folder away"
      )
    return songs, _songs_in(folder / "valid")
  names = {song.name for song in songs}
  chosen = _named_songs(named, names) if named else names & set(VALID_SONGS)
  if not chosen and not named:
    ordered = [song.name for song in songs]
    drawn = split_by_hash(ordered, valid_share)
    chosen = {name for name, split in drawn.items() if split == "valid"}
  rest = [song for song in songs if song.name not in chosen]
  if not rest:
    raise UserError(f"--valid-songs: leaves no song of {train} for training")
  return rest, [song for song in songs if song.name in chosen]


def _songs_in(folder: Path) -> list[Path]:
  """Return the folders in a folder that hold audio files, in order."""
  inside = [place for place in folder.iterdir() if place.is_dir()]
  # A hidden folder is one that a preparation has not finished.
  songs = [p for p in inside if not p.name.startswith(".") and audio_files(p)]
  if songs:
    return sorted(songs)
  if audio_files(folder):
    raise UserError(f"{folder}: holds stems itself; expected one folder per song")
  raise UserError(
    f"{folder}: holds no song; expected a folder per song with a file per stem, such"
    " as vocals.wav, or a folder train/ of such folders"
  )


def _named_songs(values: Sequence[str], names: set[str]) -> set[str]:
  """Return the songs that --valid-songs names; a value may be a name with a comma."""
  chosen = set()
  for value in values:
    for name in [value] if value in names else value.split(","):
      name = name.strip()
      if name not in names:
        near = difflib.get_close_matches(name, sorted(names), 1, 0.0)
        raise UserError(f"--valid-songs: no song {name!r}; did you mean {near[0]!r}?")
      chosen.add(name)
  return chosen
