"""Packages of Debian with music under open licenses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MusicPackage:
  """A package, and what is taken of it.

  Attributes:
    name: its name.
    folder: where its music lies, as its files are installed.
    license: of the music, as debian/copyright of the package states it.
    stems: names of its files to names of stems, where it has songs in parts: a folder
      for each song. Empty for mixes.
  """

  name: str
  folder: str
  license: str
  stems: tuple[tuple[str, str], ...] = ()


# The parts of a song of the game Frets on Fire: the guitar, and all the rest.
_GUITAR = (("guitar.ogg", "guitar.ogg"), ("song.ogg", "other.ogg"))

PACKAGES = (
  MusicPackage(
    "warzone2100-music", "usr/share/games/warzone2100/music", "GPL-2.0-or-later"
  ),
  MusicPackage(
    "planetblupi-music-ogg", "usr/share/planetblupi/music", "GPL-3.0-or-later"
  ),
  MusicPackage(
    "wesnoth-1.16-music",
    "usr/share/games/wesnoth/1.16/data/core/music",
    "GPL-2.0-or-later",
  ),
  MusicPackage(
    "singularity-music", "usr/share/games/singularity/music", "CC-BY-SA-3.0"
  ),
  MusicPackage("hyperrogue-music", "usr/share/hyperrogue/music", "CC-BY-SA-3.0"),
  MusicPackage("asc-music", "usr/share/games/asc/music", "GPL-2.0-or-later"),
  MusicPackage(
    "fretsonfire-songs-sectoid",
    "usr/share/games/fretsonfire/data/songs/sectoid",
    "MIT",
    _GUITAR,
  ),
  MusicPackage(
    "fretsonfire-songs-muldjord",
    "usr/share/games/fretsonfire/data/songs/muldjord",
    "CC-BY-SA-3.0",
    _GUITAR,
  ),
)
# Songs in parts that are for validation and for test; all others are for training.
VALID_SONGS = ("Feelings",)
TEST_SONGS = ("War of freedom", "mutilated_mime")
