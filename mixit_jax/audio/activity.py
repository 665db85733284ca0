"""Rules for preparing data: which segments of a recording sound."""

import numpy as np

# Share of the chunk energies of a song that lie below its threshold, and the lowest
# threshold and energy (sums of squares).
_QUANTILE = 0.15
_LEAST_THRESHOLD = 1e-3
_LEAST_ENERGY = 1e-5
_CHUNKS = 10
_ACTIVE_CHUNKS = 5


def segment_starts(length: int, segment: int, hop: int) -> list[int]:
  """List where the segments of a recording start; all of them are whole.

  Args:
    length: samples of the recording.
    segment: samples of a segment.
    hop: samples from one start to the next.

  Returns:
    first samples of the segments; none where the recording is shorter than one.
  """
  return list(range(0, length - segment + 1, hop))


def is_mostly_silent(
  segment: np.ndarray,
  sample_rate: int,
  max_silent_share: float = 0.5,
  threshold_db: float = -60.0,
) -> bool:
  """Tell whether too many seconds of a segment are silent (paper, section 4.1).

  The paper drops a segment of ten seconds when more than five of them are silent,
  by their power. It does not define silence: here it is a power below -60 dB of full
  scale, which is below quiet music and above the noise of most recordings.

  Args:
    segment: audio of shape [C, L], L > 0.
    sample_rate: sample rate in Hz.
    max_silent_share: share of silent seconds that is still accepted.
    threshold_db: power below which a second is silent, in dB of full scale: the mean
      of its squared samples over all channels.

  Returns:
    True where the segment should be dropped. A last part of less than a second
    counts as a second.
  """
  starts = np.arange(0, segment.shape[-1], sample_rate)
  sizes = np.diff(starts, append=segment.shape[-1])
  squares = np.square(segment, dtype=np.float64).mean(axis=0)
  power = np.add.reduceat(squares, starts) / sizes
  silent = power < 10 ** (threshold_db / 10)
  return bool(silent.mean() > max_silent_share)


def active_segments(
  audio: np.ndarray,
  sample_rate: int,
  segment_seconds: float = 8.0,
  hop_seconds: float = 4.0,
) -> tuple[list[int], float]:
  """Find the segments of a stem in which it sounds (paper, section 4.1).

  This is the source activity detection of Luo and Yu's "Music source separation
  with band-split RNN", which learns its threshold from the stem itself. Every
  segment is cut into ten chunks. The threshold is the 15 % quantile of the energies
  of all chunks, but at least 1e-3; an energy of zero counts as 1e-5. A segment
  sounds when at least five of its chunks lie above the threshold.

  Args:
    audio: one stem of one song, of shape [C, L].
    sample_rate: sample rate in Hz.
    segment_seconds: length of a segment in seconds.
    hop_seconds: seconds from the start of one segment to that of the next.

  Returns:
    first samples of the segments that sound, and the threshold (a sum of squares
    over the samples and channels of a chunk).
  """
  segment = round(segment_seconds * sample_rate)
  starts = segment_starts(audio.shape[-1], segment, round(hop_seconds * sample_rate))
  if not starts:
    return [], _LEAST_THRESHOLD
  energies = np.stack(
    [_chunk_energies(audio[:, start : start + segment]) for start in starts]
  )
  threshold = max(float(np.quantile(energies, _QUANTILE)), _LEAST_THRESHOLD)
  active = (energies > threshold).sum(axis=1) >= _ACTIVE_CHUNKS
  return [start for start, keep in zip(starts, active, strict=True) if keep], threshold


def _chunk_energies(segment: np.ndarray) -> np.ndarray:
  """Sum the squares of each chunk of a segment [C, L]."""
  chunk = segment.shape[-1] // _CHUNKS
  squares = np.square(segment[:, : _CHUNKS * chunk], dtype=np.float64)
  energies = squares.reshape(-1, _CHUNKS, chunk).sum(axis=(0, 2))
  return np.where(energies == 0, _LEAST_ENERGY, energies)
