"""Copy whole songs without loss: as FLAC if it can hold the samples, else unchanged."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from data_prep.segments import quiet_decoders
from data_prep.shards import printable
from mixit_jax.audio.files import AudioError, decode, resample, write_audio
from mixit_jax.data.manifest import SkippedFile
from mixit_jax.files import read_json, write_json

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
  """One song to copy. A song with a broken file is left out as a whole.

  Attributes:
    source: its folder.
    target: folder of the copy, which appears when it is complete.
    files: names of the files to copy.
    sample_rate: rate of the copy in Hz.
  """

  source: Path
  target: Path
  files: tuple[str, ...]
  sample_rate: int

  def is_finished(self) -> bool:
    """Tell whether the copy is complete."""
    return self.target.is_dir()

  def run(self) -> None:
    """Copy the song, or report which file is broken.

    Raises:
      UserError: the copy cannot be written.
    """
    unfinished = self.target.with_name(f".{self.target.name}.tmp")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
    unfinished.mkdir(parents=True)
    for file in self.files:
      path = self.source / file
      try:
        with quiet_decoders():
          audio, rate = decode(path)
      except AudioError as error:
        shutil.rmtree(unfinished)
        name = f"{self.source.parent.name}/{self.source.name}/{file}"
        skipped = {"file": printable(name), "reason": printable(error.reason)}
        write_json(self._report_path, {"skipped": [skipped]})
        return
      _copy_audio(path, audio, rate, unfinished, self.sample_rate)
    unfinished.replace(self.target)
    self._report_path.unlink(missing_ok=True)

  def skipped(self) -> list[SkippedFile]:
    """Return the file that was broken, if any."""
    if self.is_finished():
      return []
    return list(read_json(self._report_path)["skipped"])

  @property
  def _report_path(self) -> Path:
    return self.target.with_name(f"{self.target.name}.json")


def _copy_audio(
  source: Path, audio: np.ndarray, rate: int, folder: Path, sample_rate: int
) -> None:
  """Copy one audio file.

  Integer samples are kept exactly, in a FLAC file of the same bit depth. Files that
  FLAC cannot hold (float samples, 32-bit integers) and compressed files are copied
  unchanged. Only a file of another sample rate is resampled: to 24-bit FLAC, or, if a
  peak exceeds 1, to a WAV file with float samples.

  Args:
    source: file to copy.
    audio: its content, [C, L].
    rate: its sample rate in Hz.
    folder: folder of the copy.
    sample_rate: wanted rate in Hz.

  Raises:
    AudioError: the copy cannot be written.
  """
  target = folder / f"{source.stem}.flac"
  if rate != sample_rate:
    audio = resample(audio, rate, sample_rate)
    if np.abs(audio).max() > 1:
      target = target.with_suffix(".wav")
    write_audio(target, audio, sample_rate)
    return
  try:
    if not _pack(source, target):
      shutil.copyfile(source, folder / source.name)
  except (soundfile.SoundFileError, OSError) as error:
    raise AudioError(source, f"cannot be copied to {target} ({error})") from error


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
