"""From the parts of a score to MIDI files with the programs of General MIDI."""

from pathlib import Path

from data_prep.synthetic.composition import Part
from data_prep.synthetic.instruments import Timbre

DRUM_CHANNEL = 9
TICKS_PER_SECOND = 1000
STROKE_SECONDS = 0.1  # of a drum
# Numbers of programs by stem, from 0; for drums, of the kits that fonts have.
PROGRAMS: dict[str, tuple[int, ...]] = {
  "vocals": (52, 53, 54, 85, 91),  # choirs, synthetic voices
  "drums": (0, 8, 16, 24, 25, 32, 40, 48),
  "bass": (*range(32, 40), 43, 58, 87),  # basses, contrabass, tuba
  "other": (
    *range(0, 15),  # pianos, bells and mallets
    *range(16, 32),  # organs, guitars
    *(40, 41, 42, 44, 45, 46, 48, 49, 50, 51),  # strings
    *(56, 57, 59, 60, 61, 62, 63),  # brass
    *range(64, 85),  # reeds, pipes, synthetic leads
    *(86, 88, 89, 90, 92, 93, 94, 95),  # pads
    *(104, 105, 106, 107, 108, 109, 110, 111, 114),  # of other continents
  ),
}
BAND = {stem: [str(number) for number in PROGRAMS[stem]] for stem in PROGRAMS}
# Of the percussion map of General MIDI, as body and decay of a timbre choose.
DRUM_KEYS = {
  "kick": (36, 35),
  "snare": (38, 40),
  "rim": (37, 37),
  "clap": (39, 39),
  "hat": (42, 44),
  "open": (46, 46),
  "ride": (51, 59),
  "crash": (49, 57),
  "tom": (45, 50),
}


def write_midi(path: Path, part: Part, timbre: Timbre, seconds: float) -> None:
  """Write a MIDI file of one part.

  A bright timbre is struck harder, which also opens the filters of a sound font; one
  with much motion has more vibrato.

  Args:
    path: file to write.
    part: the part; its instrument is the number of a program.
    timbre: how it is played.
    seconds: length of the file, which notes do not exceed.
  """
  import mido  # of the extra `prep`

  channel = DRUM_CHANNEL if part.stem == "drums" else 0
  events = [
    (0, mido.Message("program_change", channel=channel, program=int(part.instrument)))
  ]
  if part.stem != "drums":
    depth = round(80 * timbre.motion**2)
    events.append((0, mido.Message("control_change", control=1, value=depth)))
  for key, velocity, start, end in _strokes(part, timbre, seconds):
    on = mido.Message("note_on", channel=channel, note=key, velocity=velocity)
    events += [(start, on), (end, on.copy(velocity=0))]
  track = mido.MidiTrack()
  now = 0
  # At equal times what ends comes first.
  for time, event in sorted(events, key=lambda e: (e[0], getattr(e[1], "velocity", 0))):
    track.append(event.copy(time=time - now))
    now = time
  track.append(mido.MetaMessage("end_of_track", time=_ticks(seconds) - now))
  # Two beats of half a second each, at the tempo of a file that names none.
  file = mido.MidiFile(type=0, ticks_per_beat=TICKS_PER_SECOND // 2)
  file.tracks.append(track)
  file.save(path)


def _strokes(
  part: Part, timbre: Timbre, seconds: float
) -> list[tuple[int, int, int, int]]:
  """Return key, velocity, start and end in ticks of every note, by start.

  A key that is struck again is let go before: its end would silence the new note.
  """
  strokes = []
  next_start: dict[int, int] = {}
  for note in sorted(part.notes, key=lambda note: -note.start):
    key, length = note.pitch, note.seconds
    if part.stem == "drums":
      key, length = DRUM_KEYS[note.sound][timbre.body > 0.5], STROKE_SECONDS
    start = _ticks(note.start)
    end = min(_ticks(min(note.start + length, seconds)), next_start.get(key, 1 << 30))
    if end > start:
      velocity = round(127 * note.velocity * (0.6 + 0.4 * timbre.bright))
      strokes.append((key, max(velocity, 1), start, end))
      next_start[key] = start
  return strokes[::-1]


def _ticks(seconds: float) -> int:
  return round(seconds * TICKS_PER_SECOND)
