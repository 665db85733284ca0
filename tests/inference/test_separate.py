"""Files in, stems out: streams, names, failures, formats."""

import contextlib
import io
import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import soundfile
from jax.sharding import NamedSharding, PartitionSpec
from training.tiny import MODEL

from mixit_jax.audio.files import decode, resample, write_audio
from mixit_jax.devices.mesh import local_mesh
from mixit_jax.errors import UserError
from mixit_jax.inference.estimates import Member
from mixit_jax.inference.model import Model
from mixit_jax.inference.report import TerminalReport
from mixit_jax.inference.request import Request
from mixit_jax.inference.separate import separate_files
from mixit_jax.weights.folder import Weights

RATE = 44100


class Report:
  """Keeps what it is told."""

  def __init__(self):
    self.said, self.warned = [], []
    self.say, self.warn = self.said.append, self.warned.append

  @contextlib.contextmanager
  def progress(self, name, seconds):
    done = []
    yield done.append
    assert sum(done) == pytest.approx(seconds)


class Halves(Model):
  """A model whose two outputs are shares of the mixture, halves: they sum to it."""

  def __init__(self, *arguments, devices=1, shares=(0.5, 0.5), **options):
    config = SimpleNamespace(
      sample_rate=RATE, num_channels=2, num_sources=2, n_fft=64, settled=lambda _: MODEL
    )
    weights = Weights(config, {}, ("left", "right"))
    super().__init__(weights, *arguments, **options)
    self._mesh = local_mesh(devices)
    self._shares = np.array(shares, np.float32)[:, None, None]

  @property
  def separate_chunks(self):
    layout = NamedSharding(self._mesh, PartitionSpec(self._mesh.axis_names))
    return lambda chunks: jax.device_put(chunks[:, None] * self._shares, layout)


def separate(inputs, out, model=None, report=None, members=None, **request):
  report = report or Report()
  members = members or [Member(model or Halves(0.1, 0.05), 1.0)]
  return separate_files(
    members, list(map(Path, inputs)), out, Request(**request), report
  )


def noise(length, channels=2):
  random = np.random.default_rng(length)
  return random.uniform(-0.9, 0.9, (channels, length)).astype(np.float32)


CHUNK = 4410


RANDOM = int(np.random.default_rng().integers(2, 40_000))
LENGTHS = (1, CHUNK - 1, CHUNK, CHUNK + 1, RANDOM)


@pytest.mark.parametrize("window", ["mean", "triangle", "hann"])
@pytest.mark.parametrize(
  ("devices", "batch", "channels"), [(1, None, 2), (1, 3, 1), (8, 2, 2)]
)
def test_an_identity_returns_its_input(tmp_path, window, devices, batch, channels):
  songs = {f"{length}.wav": noise(length, channels) for length in LENGTHS}
  for name, song in songs.items():
    write_audio(tmp_path / "in" / name, song, RATE)
  model = Halves(0.1, 0.03, batch, devices=devices, window=window)
  assert not separate([tmp_path / "in"], tmp_path / "out", model, shifts=2).failures
  for name, song in songs.items():
    for stem in ("left", "right"):
      found, rate = decode(tmp_path / "out" / Path(name).stem / f"{stem}.wav")
      assert rate == RATE
      np.testing.assert_allclose(2 * found, song, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("rate", [8000, 22_050, 48_000, 96_000])
def test_at_other_rates_only_resampling_changes_the_input(tmp_path, rate):
  songs = {f"{length}.wav": noise(length) for length in LENGTHS}
  # A tone that fades in and out, within the band that both rates hold.
  place = np.arange(20_000)
  tone = 0.5 * np.sin(2 * np.pi * 440 / rate * place) * np.hanning(20_000)
  songs["tone.wav"] = np.stack([tone, tone]).astype(np.float32)
  for name, song in songs.items():
    write_audio(tmp_path / "in" / name, song, rate)
  for kind in ("input", "model"):
    out = tmp_path / kind
    assert not separate([tmp_path / "in"], out, rate=kind).failures
    for name, song in songs.items():
      found, found_rate = decode(out / Path(name).stem / "left.wav")
      expected = resample(song, rate, RATE)
      if kind == "input":
        expected = resample(expected, RATE, rate)[:, : song.shape[1]]
        missing = song.shape[1] - expected.shape[1]
        expected = np.pad(expected, ((0, 0), (0, missing)))
      assert found_rate == (rate if kind == "input" else RATE)
      assert found.shape == expected.shape
      np.testing.assert_allclose(2 * found, expected, atol=1e-6, err_msg=name)
      if name == "tone.wav" and kind == "input":
        # Its own error: below -80 dB, and not a fraction of a sample late.
        np.testing.assert_allclose(2 * found, song, atol=1e-4)


def test_several_models_are_averaged_by_their_shares(tmp_path):
  song = noise(9000)
  write_audio(tmp_path / "song.wav", song, RATE)
  models = [Halves(0.1, 0.05, shares=shares) for shares in ((1, 0), (0, 1))]
  members = [
    Member(model, weight) for model, weight in zip(models, (1, 3), strict=True)
  ]
  separate([tmp_path / "song.wav"], tmp_path / "out", members=members)
  for stem, share in (("left", 0.25), ("right", 0.75)):
    found, _ = decode(tmp_path / f"out/song/{stem}.wav")
    np.testing.assert_allclose(found, share * song, atol=1e-6)
  other = Halves(0.1, 0.05)
  other.weights = Weights(other.config, {}, ("right", "left"))
  with pytest.raises(UserError, match="--also: its outputs are right, left"):
    separate(
      [tmp_path / "song.wav"], tmp_path / "x", members=[members[0], Member(other, 1)]
    )


def test_standard_input_is_separated_as_a_file(tmp_path, monkeypatch):
  song = noise(9000)
  write_audio(tmp_path / "song.flac", song, RATE)
  content = (tmp_path / "song.flac").read_bytes()
  for name, data in (("good", content), ("bad", content[:100]), ("empty", b"")):
    stdin = SimpleNamespace(buffer=io.BytesIO(data))
    monkeypatch.setattr(sys, "stdin", stdin)
    outcome = separate(["-"], tmp_path / name)
    if name == "good":
      found, _ = decode(tmp_path / "good/stdin/left.wav")
      np.testing.assert_allclose(2 * found, song, atol=1e-6)
    else:
      (line,) = outcome.failures
      assert line.startswith("standard input: ")


@pytest.mark.parametrize("peaks", ["keep", "scale"])  # the latter spools
def test_a_file_that_cannot_grow_ends_one_recording(tmp_path, peaks):
  for name, length in (("long", 90_000), ("short", 900)):
    write_audio(tmp_path / f"{name}.wav", noise(length), RATE)
  inputs = [tmp_path / "long.wav", tmp_path / "short.wav"]
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
  try:
    outcome = separate(inputs, tmp_path / "out", peaks=peaks)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert outcome.folders == [tmp_path / "out/short"]
  (line,) = outcome.failures
  assert "long" in line
  assert "\n" not in line
  left = [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()]
  assert sorted(left) == ["left.wav", "right.wav"]


def test_results_are_sums_of_mixture_and_outputs(tmp_path):
  song = noise(9000)
  write_audio(tmp_path / "song.wav", song, RATE)
  separate(
    [tmp_path / "song.wav"],
    tmp_path / "out",
    stems=("left",),
    minus=("left",),
    sum_to_mixture=True,
  )
  folder = tmp_path / "out/song"
  assert {p.name for p in folder.iterdir()} == {"left.wav", "no_left.wav"}
  parts = [decode(folder / f"{name}.wav")[0] for name in ("left", "no_left")]
  np.testing.assert_allclose(sum(parts), song, atol=1e-6)
  names, shares = Request(sum_to_mixture=True, minus=("b",)).results(("a", "b"))
  assert names == ("a", "b", "no_b")
  np.testing.assert_allclose(
    shares, [[0.5, 0.5, -0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]
  )


def test_results_never_overwrite_each_other(tmp_path):
  names = ["CD1/01.wav", "CD2/01.wav", "CD3/01.wav", "CD1/A.wav", "CD1/a.flac"]
  for number, name in enumerate(names):
    write_audio(tmp_path / name, np.full((2, 100), 0.1 * (1 + number)), RATE)
  out = tmp_path / "out"
  outcome = separate([tmp_path / name for name in names], out)
  assert not outcome.failures
  folders = [folder.relative_to(out).as_posix() for folder in outcome.folders]
  assert folders == ["CD1/01", "CD2/01", "CD3/01", "CD1/A.wav", "CD1/a.flac"]
  for number, folder in enumerate(outcome.folders):
    np.testing.assert_allclose(
      decode(folder / "left.wav")[0], 0.05 * (1 + number), atol=1e-6
    )


def test_results_stay_below_out(tmp_path):
  write_audio(tmp_path / "in/x.wav", noise(100), RATE)
  (tmp_path / "in/x.wav").rename(tmp_path / "in/...wav")
  separate([tmp_path / "in/...wav"], tmp_path / "out")
  assert (tmp_path / "out/...wav/left.wav").is_file()
  assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]


def test_a_second_run_keeps_results_and_does_not_separate_them(tmp_path):
  write_audio(tmp_path / "song.wav", noise(100), RATE)
  write_audio(tmp_path / ".hidden/song.wav", noise(100), RATE)
  out = tmp_path / "out"
  separate([tmp_path], out)
  before = (out / "song/left.wav").read_bytes()
  (out / "song/right.wav").unlink()
  write_audio(tmp_path / "song.wav", noise(200), RATE)
  report = Report()
  assert separate([tmp_path], out, report=report).folders == [out / "song"]
  assert (out / "song/left.wav").read_bytes() == before
  assert decode(out / "song/right.wav")[0].shape == (2, 200)
  separate([tmp_path], out, report=report)
  assert "--overwrite" in report.warned[-1]
  separate([tmp_path], out, overwrite=True)
  assert decode(out / "song/left.wav")[0].shape == (2, 200)


def test_every_recording_ends_by_itself(tmp_path):
  write_audio(tmp_path / "good.wav", noise(100), RATE)
  for name, value in (("nan", np.nan), ("huge", 1e30)):
    soundfile.write(
      tmp_path / f"{name}.wav", np.full((50, 2), value), RATE, subtype="FLOAT"
    )
  write_audio(tmp_path / "taken.wav", noise(100), RATE)
  (tmp_path / "empty").mkdir()
  out = tmp_path / "out"
  out.mkdir()
  (out / "taken").write_text("a file")
  report = Report()
  inputs = ["nan.wav", "huge.wav", "taken.wav", "empty", "gone.wav", "good.wav"]
  outcome = separate([tmp_path / name for name in inputs], out, report=report)
  assert outcome.folders == [out / "good"]
  assert report.said == [str(out / "good")]
  assert sorted(report.warned) == sorted(outcome.failures)
  for name in inputs[:-1]:
    (line,) = [x for x in outcome.failures if name.removesuffix(".wav") in x]
    assert "\n" not in line
  assert not [p for p in out.rglob("*") if ".tmp" in p.name]


def test_an_unwritable_destination_is_known_first(tmp_path):
  (tmp_path / "out").write_text("a file")
  with pytest.raises(UserError, match=r"--out=.*not writable"):
    separate([tmp_path / "gone.wav"], tmp_path / "out")


@pytest.mark.parametrize(
  ("quiet", "terminal"), [(False, True), (False, False), (True, True)]
)
def test_a_bar_within_a_recording_shows_the_time_left(quiet, terminal, monkeypatch):
  stream = io.StringIO()
  stream.isatty = lambda: terminal
  monkeypatch.setattr(sys, "stderr", stream)
  with TerminalReport(quiet).progress("music/song.wav", 60.0) as advance:
    advance(15.0)
    time.sleep(0.2)  # bars are drawn ten times a second
    advance(15.0)
  shown = stream.getvalue()
  if terminal and not quiet:
    assert "song.wav:  50% |" in shown
    assert " left" in shown
  else:
    assert not shown


@pytest.mark.parametrize(
  ("options", "peak", "words"),
  [
    ({}, 1.5, "kept"),
    ({"peaks": "scale"}, 1.0, "multiplied by 0.6667"),
    ({"peaks": "clip"}, 1.0, "clipped"),
    ({"bits": "16"}, 1.0, "clipped"),
    ({"format": "flac"}, 1.0, "clipped"),
    ({"format": "flac", "peaks": "scale"}, 1.0, "multiplied"),
  ],
)
def test_peaks_are_reported_in_one_line(tmp_path, options, peak, words):
  song = noise(5000)
  song[:, 100] = 3
  write_audio(tmp_path / "song.wav", song, RATE)
  report = Report()
  separate([tmp_path / "song.wav"], tmp_path / "out", report=report, **options)
  (line,) = report.warned
  assert "4 samples above full scale" in line
  assert words in line
  file = tmp_path / f"out/song/left.{options.get('format', 'wav')}"
  assert np.abs(decode(file)[0]).max() == pytest.approx(peak, abs=1e-4)


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg"])
def test_equal_input_gives_equal_bytes_and_tags(tmp_path, name, monkeypatch):
  write_audio(tmp_path / "song.flac", noise(RATE), RATE)
  with soundfile.SoundFile(tmp_path / "song.flac") as file:
    audio = file.read()
  with soundfile.SoundFile(tmp_path / "song.flac", "w", RATE, 2) as file:
    file.title = "Ein Stück"
    file.write(audio)
  found = []
  for out in ("a", "b"):
    separate([tmp_path / "song.flac"], tmp_path / out, format=name)
    file = tmp_path / out / f"song/left.{name}"
    found.append(file.read_bytes())
    assert decode(file)[0].shape == (2, RATE)
    assert soundfile.SoundFile(file).title == "Ein Stück"
    time.sleep(1.1)  # the encoders' stamps count seconds
  assert found[0] == found[1]


def test_more_channels_are_refused_or_mixed_down(tmp_path):
  song = noise(500, 6)
  write_audio(tmp_path / "six.wav", song, RATE)
  outcome = separate([tmp_path / "six.wav"], tmp_path / "out")
  assert "6 channels" in outcome.failures[0]
  assert "--downmix" in outcome.failures[0]
  assert not separate([tmp_path / "six.wav"], tmp_path / "out", downmix=True).failures
  # Front, center and back (ITU-R BS.775), no low frequencies; no louder than before.
  front, center, _, back = np.split(song, (2, 3, 4))
  side = np.sqrt(0.5)
  expected = (front + side * center + side * back) / (1 + 2 * side)
  found, _ = decode(tmp_path / "out/six/left.wav")
  np.testing.assert_allclose(2 * found, expected, atol=1e-6)


@pytest.mark.parametrize(
  ("options", "words"),
  [
    ({"stems": ("bass",)}, "--stems=bass"),
    ({"stems": ("left", "left")}, "twice"),
    ({"minus": ("x",)}, "--minus=x"),
    ({"format": "flac", "bits": "float"}, "--bits=float"),
    ({"format": "flac", "peaks": "keep"}, "--peaks=keep"),
    ({"bitrate": 128}, "--bitrate"),
    ({"format": "mp3", "bitrate": 123}, "--bitrate=123"),
    ({"shifts": 0}, "--shifts=0"),
  ],
)
def test_requests_that_cannot_be_are_refused(tmp_path, options, words):
  with pytest.raises(UserError, match=words):
    separate([], tmp_path / "out", **options)


@pytest.mark.realdata
def test_broken_files_give_audio_or_one_line(realdata, tmp_path):
  files = [p for p in (realdata / "bad").iterdir() if p.suffix != ".tsv"]
  report = Report()
  model = Halves(10.0, 10.0)
  outcome = separate(files, tmp_path / "out", model, report, stems=("left",))
  assert len(outcome.folders) + len(outcome.failures) == len(files)
  assert len(outcome.folders) > 20
  assert all("\n" not in line for line in report.warned)
  for file in files:
    named = [line for line in outcome.failures if line.startswith(f"{file}: ")]
    assert len(named) == (file.stem not in {folder.name for folder in outcome.folders})
  for folder in outcome.folders:
    audio, _ = decode(folder / "left.wav")
    assert audio.size
    assert np.isfinite(audio).all()
