"""Copy whole songs without loss: as FLAC if it can hold the samples, else unchanged."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from data_prep.segments import NUM_CHANNELS, quiet_decoders
from data_prep.shards import printable
from data_prep.song_files import SongFiles
from data_prep.sums import sum_of
from mixit_jax.audio.files import AudioError, decode, read_audio, resample, write_audio
from mixit_jax.data.manifest import SkippedFile
from mixit_jax.data.songs import read_song
from mixit_jax.errors import UserError
from mixit_jax.files import read_json, write_json
from mixit_jax.stems import MIXTURE

# Encodings whose integers FLAC keeps, by soundfile's names.
_FLAC_SUBTYPES = {
  "PCM_U8": "PCM_S8",
  "PCM_S8": "PCM_S8",
  "PCM_16": "PCM_16",
  "PCM_24": "PCM_24",
}
_UNPACKED_FORMATS = ("WAV", "WAVEX", "RF64", "AIFF")
_BLOCK = 1 << 18  # frames


@dataclass(frozen=True)
class SongCopy:
  """One song to copy. A song that cannot be read as a whole is left out.

  A stem with one file is copied without loss. Several files are summed, a stem without
  a file is silence, and with `align` stems are shifted by what was measured and filled
  up with silence to the longest file.

  Attributes:
    song: its files.
    target: folder of the copy, which appears when it is complete.
    sample_rate: rate of the copy in Hz.
    seconds: of the longest file.
    late: seconds by which stems lie late, where this is to be mended.
    align: whether all files get the same length.
    mixture: whether the mixture is copied.
  """

  song: SongFiles
  target: Path
  sample_rate: int
  seconds: float = 0.0
  late: tuple[tuple[str, float], ...] = ()
  align: bool = False
  mixture: bool = True

  def is_finished(self) -> bool:
    """Tell whether the copy is complete."""
    return self.target.is_dir()

  def run(self) -> None:
    """Copy the song and read the copy; or report what is wrong with it.

    Raises:
      UserError: the copy cannot be written.
    """
    unfinished = self.target.with_name(f".{self.target.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    try:
      for stem, files in self._wanted():
        self._copy(stem, files, unfinished)
      self._check(unfinished)
    except _BrokenFileError as broken:
      shutil.rmtree(unfinished)
      skipped = {"file": printable(broken.file), "reason": printable(broken.reason)}
      write_json(self._report_path, {"skipped": [skipped]})
      return
    unfinished.replace(self.target)
    self._report_path.unlink(missing_ok=True)

  def skipped(self) -> list[SkippedFile]:
    """Return the file that was broken, if any."""
    if self.is_finished():
      return []
    return list(read_json(self._report_path)["skipped"])

  def _wanted(self) -> list[tuple[str, tuple[str, ...]]]:
    """Return names of the copies with the files that they are made from."""
    mixture = self.mixture and self.song.mixture
    return [*self.song.stems, *([(MIXTURE, (self.song.mixture,))] if mixture else [])]

  def _copy(self, stem: str, files: tuple[str, ...], folder: Path) -> None:
    song, rate = self.song, self.sample_rate
    if len(files) == 1 and not self.align:
      with self._reading(files[0]):
        audio, found = decode(song.folder / files[0])
      _copy_audio(song.folder / files[0], audio, found, folder / stem, rate)
      return
    parts = []
    for file in files:
      with self._reading(file):
        parts.append(read_audio(song.folder / file, rate, NUM_CHANNELS))
    late = round(dict(self.late).get(stem, 0.0) * rate)
    length = round(self.seconds * rate) if self.align or not parts else None
    audio = shifted(sum_of(parts, NUM_CHANNELS, length), -late)
    _write(folder / stem, audio, rate)

  @contextlib.contextmanager
  def _reading(self, file: str) -> Iterator[None]:
    """Name a file that cannot be read as the song does."""
    try:
      with quiet_decoders():
        yield
    except AudioError as error:
      raise _BrokenFileError(f"{self.song.name}/{file}", error.reason) from error

  def _check(self, copy: Path) -> None:
    """Read the copy as validation will."""
    stems = [stem for stem, _ in self.song.stems]
    try:
      read_song(copy, stems, self.sample_rate, NUM_CHANNELS)
    except UserError as error:
      reason = str(error).removeprefix(f"{copy}: ")
      raise _BrokenFileError(self.song.name, reason) from error

  @property
  def _report_path(self) -> Path:
    return self.target.with_name(f"{self.target.name}.json")


class _BrokenFileError(Exception):
  """A song cannot be used because of a file."""

  def __init__(self, file: str, reason: str):
    super().__init__(file, reason)
    self.file = file
    self.reason = reason


def shifted(audio: np.ndarray, samples: int) -> np.ndarray:
  """Move audio [C, L] to a later place, or an earlier one below 0; L stays."""
  moved = np.zeros_like(audio)
  if samples >= 0:
    moved[:, samples:] = audio[:, : audio.shape[1] - samples]
  else:
    moved[:, :samples] = audio[:, -samples:]
  return moved


def _copy_audio(
  source: Path, audio: np.ndarray, rate: int, target: Path, sample_rate: int
) -> None:
  """Copy one audio file.

  Integer samples are kept exactly, in a FLAC file of the same bit depth. Files that
  FLAC cannot hold (float samples, 32-bit integers) and compressed files are copied
  unchanged. Only a file of another sample rate is resampled and written anew.

  Args:
    source: file to copy.
    audio: its content, [C, L].
    rate: its sample rate in Hz.
    target: path of the copy, without suffix.
    sample_rate: wanted rate in Hz.

  Raises:
    AudioError: the copy cannot be written.
  """
  if rate != sample_rate:
    _write(target, resample(audio, rate, sample_rate), sample_rate)
    return
  packed = target.with_name(f"{target.name}.flac")
  try:
    if not _pack(source, packed):
      shutil.copyfile(source, target.with_name(target.name + source.suffix.lower()))
  except (soundfile.SoundFileError, OSError) as error:
    raise AudioError(source, f"cannot be copied to {packed} ({error})") from error


def _write(target: Path, audio: np.ndarray, sample_rate: int) -> None:
  """Write 24-bit FLAC or, if a peak exceeds 1, a WAV file with float samples."""
  suffix = ".wav" if np.abs(audio).max() > 1 else ".flac"
  write_audio(target.with_name(target.name + suffix), audio, sample_rate)


def _pack(source: Path, target: Path) -> bool:
  """Pack a file of integer samples into FLAC; return False for other files."""
  if source.suffix.lower() not in (".wav", ".wave", ".rf64", ".aif", ".aiff"):
    return False
  with soundfile.SoundFile(source) as reader:
    subtype = _FLAC_SUBTYPES.get(reader.subtype)
    if subtype is None or reader.format not in _UNPACKED_FORMATS:
      return False
    with soundfile.SoundFile(
      target, "w", reader.samplerate, reader.channels, subtype
    ) as writer:
      while len(block := reader.read(_BLOCK, dtype="int32", always_2d=True)):
        writer.write(block)
  return True
