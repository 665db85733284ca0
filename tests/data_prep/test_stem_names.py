"""Songs with stems of any names, and what is odd about them."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from music_files import RATE, noise, write

from data_prep import musdb
from mixit_jax.data.manifest import Manifest
from mixit_jax.data.records import open_shards
from mixit_jax.data.songs import read_song, usual_stems
from mixit_jax.errors import UserError

STEMS = ("guitar", "voice", "rest")
SECONDS = 4


def _tone(song, stem):
  """Noise of 16 bits without high frequencies."""
  spectrum = np.fft.rfft(noise((song, stem), SECONDS))
  spectrum[:, 600 * SECONDS :] = 0
  audio = np.fft.irfft(spectrum).clip(-0.3, 0.3)
  return (np.round(audio * 32768) / 32768).astype(np.float32)


def _song(folder, number, suffix="wav", mixture=True, **changed):
  """Writes a song; `changed` replaces files, None leaves one out."""
  stems = {stem: _tone(number, n) for n, stem in enumerate(STEMS)}
  mix = {"mixture": sum(stems.values())} if mixture else {}
  for name, audio in {**stems, **mix, **changed}.items():
    if audio is not None:
      subtype = "PCM_16" if suffix in ("wav", "flac") else None
      write(folder / f"{name}.{suffix}", audio, RATE, subtype)
  return folder


def _prepare(songs, out, *flags):
  shape = (f"--sample-rate={RATE}", "--seconds=2", "--hop=1", "--workers=1")
  musdb.main([f"--songs={songs}", f"--out={out}", *shape, *flags])
  return Manifest.load(out)


@pytest.fixture
def songs(tmp_path):
  """Four songs, in four formats, one of them with a mixture."""
  folder = tmp_path / "songs"
  for number, suffix in enumerate(("wav", "flac", "ogg", "mp3")):
    _song(folder / f"song {number}", number, suffix, mixture=number == 0)
  return folder


def test_names_are_found_and_formats_may_differ(songs, tmp_path, capsys):
  manifest = _prepare(songs, tmp_path / "out", "--valid-songs=song 1")
  assert manifest.stems == ["guitar", "rest", "voice"]
  assert (manifest.kind, manifest.skipped) == ("stems", [])
  assert manifest.songs == {"valid": ["valid/song 1"]}
  for stem in STEMS:
    tracks = open_shards(tmp_path / "out", "train", stem)
    assert {tracks[i].track for i in range(len(tracks))} == {
      f"song {number}" for number in (0, 2, 3)
    }
  song = read_song(tmp_path / "out/valid/song 1", STEMS, RATE)
  for number, reference in enumerate(song.references):
    np.testing.assert_array_equal(reference, _tone(1, number))
  np.testing.assert_allclose(song.mixture, song.references.sum(axis=0), atol=1e-6)
  assert usual_stems(tmp_path / "out/valid") == ("guitar", "rest", "voice")
  assert capsys.readouterr().err == ""


def test_given_names_keep_their_order_and_a_share_validates(songs, tmp_path):
  manifest = _prepare(songs, tmp_path / "out", "--stems=voice, guitar,rest")
  assert manifest.stem_names() == ("voice", "guitar", "rest")
  assert len(manifest.songs["valid"]) == 1
  assert _prepare(songs, tmp_path / "two", "--valid-share=0").songs == {"valid": []}


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    ((), "3 of 4 have guitar, rest, voice, but song 3 lacks voice and has piano"),
    (("--stems=guitar,voice,rest",), "song 3 lacks a file for voice.*--missing=skip"),
    (
      ("--stems=guitar,voice,rest", "--missing=skip", "--extra=stop"),
      "song 3 has piano.mp3, which is no stem.*--extra=ignore",
    ),
    (("--stems=guitar,Guitar",), "must be different"),
    (("--stems=guitar,mixture",), "name of their sum"),
    (("--stems=guitar,valid",), "folders of the result"),
    (("--stems=gui/tar",), "no plain name"),
  ],
)
def test_names_that_do_not_serve_are_told_before_anything_is_written(
  songs, tmp_path, flags, words
):
  (songs / "song 3/voice.mp3").rename(songs / "song 3/piano.mp3")
  with pytest.raises(UserError, match=words):
    _prepare(songs, tmp_path / "out", *flags)
  assert not (tmp_path / "out").exists()


def test_several_files_of_a_stem_are_summed_where_asked(songs, tmp_path):
  first, second = _tone(0, 0), _tone(9, 0)
  (songs / "song 0/guitar.wav").unlink()
  write(songs / "song 0/guitar 1.wav", first, RATE)
  write(songs / "song 0/Guitar_2.flac", second, RATE)
  flags = ("--valid-songs=song 0", "--mixture=sum")
  with pytest.raises(UserError, match=r"song 0 has 2 files of guitar \(Guitar_2\.flac"):
    _prepare(songs, tmp_path / "out", *flags)
  manifest = _prepare(songs, tmp_path / "out", *flags, "--several=sum")
  assert manifest.stems == ["guitar", "rest", "voice"]
  song = read_song(tmp_path / "out/valid/song 0", STEMS, RATE)
  np.testing.assert_allclose(song.references[0], first + second, atol=2**-22)


def test_a_missing_stem_is_silence_where_asked(songs, tmp_path):
  for number in (0, 1):
    next((songs / f"song {number}").glob("voice.*")).unlink()
  flags = ("--stems=guitar,voice,rest", "--missing=silence", "--valid-songs=song 1")
  _prepare(songs, tmp_path / "out", *flags)
  song = read_song(tmp_path / "out/valid/song 1", STEMS, RATE)
  assert not song.references[1].any()
  counts = {stem: len(open_shards(tmp_path / "out", "train", stem)) for stem in STEMS}
  assert counts["voice"] == counts["guitar"] - 3


def _odd_songs(folder):
  late = np.roll(_tone(5, 1), 1000, axis=1)
  late[:, :1000] = 0
  _song(folder / "late", 5, voice=late)
  _song(folder / "short", 6, guitar=_tone(6, 0)[:, : 3 * RATE])
  _song(folder / "other", 7, mixture=False)
  write(folder / "other/mixture.wav", 2 * sum(_tone(7, n) for n in range(3)), RATE)
  return "--valid-songs=late,short,other"


def test_odd_songs_are_told_with_the_figure(songs, tmp_path, capsys):
  flag = _odd_songs(songs)
  manifest = _prepare(songs, tmp_path / "out", flag)
  said = capsys.readouterr().err
  assert "late: left out: voice lies 0.125 s late" in said
  assert "short: left out: rest has 4.00 s and guitar 3.00 s" in said
  assert "other: kept: the mixture differs from the sum of its stems by -6.0 dB" in said
  assert "after a gain of +6.0 dB" in said
  assert manifest.songs == {"valid": ["valid/other"]}
  assert {entry["file"] for entry in manifest.skipped} == {"late", "short"}
  checks = json.loads((tmp_path / "out/checks.json").read_text())
  assert checks["songs"]["late"]["late"] == {"voice": 0.125}
  for kind in ("misaligned", "mixture"):
    with pytest.raises(UserError, match=rf"; mend it, or choose --{kind}=\w+ or"):
      _prepare(songs, tmp_path / kind, flag, f"--{kind}=stop")


def test_odd_songs_are_mended_where_asked(songs, tmp_path):
  flags = (_odd_songs(songs), "--misaligned=align", "--mixture=sum")
  manifest = _prepare(songs, tmp_path / "out", *flags)
  assert len(manifest.songs["valid"]) == 3
  late = read_song(tmp_path / "out/valid/late", STEMS, RATE)
  np.testing.assert_allclose(
    late.references[1, :, :-1000], _tone(5, 1)[:, :-1000], atol=2**-22
  )
  short = read_song(tmp_path / "out/valid/short", STEMS, RATE)
  assert short.references.shape == (3, 2, SECONDS * RATE)
  other = read_song(tmp_path / "out/valid/other", STEMS, RATE)
  np.testing.assert_allclose(other.mixture, other.references.sum(axis=0), atol=1e-6)


def test_a_mended_song_is_taken_in_by_the_same_command(songs, tmp_path):
  wrong = songs / "song 0/guitar.wav"
  right = wrong.read_bytes()
  write(wrong, _tone(0, 0)[:, :RATE], RATE)
  out, flag = tmp_path / "out", "--valid-songs=song 1"
  _prepare(songs, out, flag)
  assert len(open_shards(out, "train", "voice")) == 2 * 3
  wrong.write_bytes(right)
  _prepare(songs, out, flag)
  assert len(open_shards(out, "train", "voice")) == 3 * 3
  before = {path: path.read_bytes() for path in out.rglob("*.arrayrecord")}
  shutil.rmtree(out / "checks")
  _prepare(songs, out, flag)
  assert {path: path.read_bytes() for path in out.rglob("*.arrayrecord")} == before


def test_what_validation_will_read_is_read_when_it_is_copied(songs, tmp_path):
  # A file that opens, and has another number of channels than can be used.
  four = np.zeros((4, SECONDS * RATE), np.float32)
  soundfile.write(songs / "song 1/voice.flac", four.T, RATE)
  manifest = _prepare(songs, tmp_path / "out", "--valid-songs=song 1")
  assert manifest.songs == {"valid": []}
  [entry] = manifest.skipped
  assert "4 channels" in entry["reason"]
