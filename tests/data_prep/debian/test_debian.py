import shutil
import subprocess

import numpy as np
import pytest

from data_prep.debian import __main__ as command
from data_prep.debian import archives
from data_prep.debian.packages import PACKAGES
from mixit_jax.audio.files import find_audio, write_audio
from mixit_jax.errors import UserError

MIXES, SONGS = "singularity-music", "fretsonfire-songs-sectoid"
BY_NAME = {package.name: package for package in PACKAGES}

needs_dpkg = pytest.mark.skipif(
  shutil.which("dpkg-deb") is None, reason="needs dpkg-deb"
)


@pytest.fixture(autouse=True)
def _nothing_is_installed_and_nothing_downloaded(tmp_path, monkeypatch):
  """Whatever this machine has, and without a network."""
  monkeypatch.setattr(archives, "ROOT", tmp_path / "root")
  programs = tmp_path / "programs"
  programs.mkdir()
  apt = programs / "apt-get"
  apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
  apt.chmod(0o755)
  monkeypatch.setenv("PATH", str(programs), prepend=":")


def tree(root, name):
  """Writes the files of a package below a folder."""
  music = root / BY_NAME[name].folder
  tone = np.full((2, 800), 0.1, np.float32)
  files = ["track.ogg", "win/end.ogg"]
  if BY_NAME[name].stems:
    songs = ("Feelings", "War of freedom", "Metal madness")
    files = [f"{song}/{part}.ogg" for song in songs for part in ("guitar", "song")]
  for file in files:
    write_audio(music / file, tone, 8000)
  (music / "credits.txt").write_text("who played")
  notice = root / f"usr/share/doc/{name}/copyright"
  notice.parent.mkdir(parents=True)
  notice.write_text(f"License of {name}")


def archive(folder, name):
  """Builds NAME_1.0_all.deb."""
  root = folder / f"tree-{name}"
  tree(root, name)
  control = root / "DEBIAN/control"
  control.parent.mkdir()
  control.write_text(
    f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: none <a@b.c>\n"
    "Description: music\n"
  )
  file = folder / "debs" / f"{name}_1.0_all.deb"
  file.parent.mkdir(exist_ok=True)
  subprocess.run(
    ["dpkg-deb", "--build", "-Znone", str(root), str(file)],
    check=True,
    stdout=subprocess.DEVNULL,
  )
  return file


def gather(tmp_path, *names, flags=()):
  out = tmp_path / "out"
  archives = f"--archives={tmp_path}/debs"
  command.main([f"--out={out}", archives, f"--packages={','.join(names)}", *flags])
  return out


def listed(out):
  return [path.relative_to(out).as_posix() for path in find_audio(out).files]


@needs_dpkg
def test_archives_become_mixes_and_songs_with_their_licenses(tmp_path, capsys):
  for name in (MIXES, SONGS):
    archive(tmp_path, name)
  out = gather(tmp_path, MIXES, SONGS)
  assert listed(out) == [
    "guitar/test/War of freedom/guitar.ogg",
    "guitar/test/War of freedom/other.ogg",
    "guitar/train/Metal madness/guitar.ogg",
    "guitar/train/Metal madness/other.ogg",
    "guitar/valid/Feelings/guitar.ogg",
    "guitar/valid/Feelings/other.ogg",
    f"unlabeled/{MIXES}_track.ogg",
    f"unlabeled/{MIXES}_win_end.ogg",
  ]
  table = (out / "licenses.tsv").read_text().splitlines()
  assert f"{MIXES}\t1.0\tCC-BY-SA-3.0\t2\tunlabeled" in table
  assert f"{SONGS}\t1.0\tMIT\t6\tguitar" in table
  assert (out / f"licenses/{SONGS}.txt").read_text() == f"License of {SONGS}"
  assert "8 audio files of 2 packages" in capsys.readouterr().out


@needs_dpkg
def test_a_second_run_adds_only_what_is_new(tmp_path):
  archive(tmp_path, MIXES)
  out = gather(tmp_path, MIXES)
  made = (out / f"unlabeled/{MIXES}_track.ogg").stat().st_mtime_ns
  archive(tmp_path, SONGS).touch()
  (tmp_path / "debs" / f"{MIXES}_1.0_all.deb").unlink()
  gather(tmp_path, MIXES, SONGS)
  assert (out / f"unlabeled/{MIXES}_track.ogg").stat().st_mtime_ns == made
  assert len(listed(out)) == 8


@needs_dpkg
def test_a_damaged_archive_is_named_and_what_is_there_stays(tmp_path):
  archive(tmp_path, MIXES)
  damaged = archive(tmp_path, SONGS)
  damaged.write_bytes(damaged.read_bytes()[:3000])
  with pytest.raises(UserError, match=r"sectoid_1.0_all.deb: is damaged .*; delete"):
    gather(tmp_path, MIXES, SONGS)
  out = tmp_path / "out"
  assert len(listed(out)) == 2
  assert not list(out.glob(".*.tmp"))
  damaged.unlink()
  shutil.rmtree(tmp_path / f"tree-{SONGS}")
  archive(tmp_path, SONGS)
  assert len(listed(gather(tmp_path, MIXES, SONGS))) == 8


def test_installed_packages_are_linked_to(tmp_path):
  tree(tmp_path / "root", MIXES)
  dpkg_query = tmp_path / "programs/dpkg-query"
  dpkg_query.write_text("#!/bin/sh\nprintf 2.0\n")
  dpkg_query.chmod(0o755)
  out = gather(tmp_path, MIXES)
  track = out / f"unlabeled/{MIXES}_track.ogg"
  assert track.readlink() == tmp_path / "root" / BY_NAME[MIXES].folder / "track.ogg"
  assert len(find_audio(out / "unlabeled").files) == 2
  assert "\t2.0\t" in (out / "licenses.tsv").read_text()


def test_what_cannot_be_had_is_left_out_with_the_reason(tmp_path, capsys):
  with pytest.raises(UserError, match="no package can be had"):
    gather(tmp_path, MIXES, SONGS)
  errors = capsys.readouterr().err.splitlines()
  assert errors == [
    f"warning: {name} is left out: is not installed, and apt-get download failed:"
    " E: Unable to locate package"
    for name in (MIXES, SONGS)
  ]


def test_an_unknown_package_is_refused(tmp_path, capsys):
  with pytest.raises(SystemExit):
    gather(tmp_path, "tetris-music")
  assert "'tetris-music' is none of warzone2100-music," in capsys.readouterr().err


def test_songs_of_ones_own_are_linked_to(tmp_path, capsys):
  tree(tmp_path / "root", MIXES)
  song = tmp_path / "mine/train/song"
  write_audio(song / "drums.wav", np.full((2, 800), 0.1, np.float32), 8000)
  for _ in range(2):  # again, too
    out = gather(tmp_path, MIXES, flags=(f"--songs={tmp_path}/mine",))
  assert (out / "train/song/drums.wav").samefile(song / "drums.wav")
  with pytest.raises(SystemExit):
    gather(tmp_path, MIXES, flags=(f"--songs={song}",))
  assert "has no folder train" in capsys.readouterr().err
