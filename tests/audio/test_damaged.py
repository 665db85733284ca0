"""Files that are damaged, cut, joined or wrongly labeled: whole, or refused."""

import io
import re

import numpy as np
import pytest
import soundfile

from mixit_jax.audio.decoding import AudioError, DamagedAudioError, decode, open_audio

RATE = 44_100
GARBAGE = np.random.default_rng(0).bytes(20_000)
ID3V1 = b"TAG" + bytes(125)


def with_total(flac, total):
  """Sets the number of samples in the header of a FLAC file: 36 bits at byte 21."""
  kept = flac[21] & 0xF0
  return flac[:21] + ((kept << 32) | total).to_bytes(5) + flac[26:]


def with_count(mp3, count):
  """Sets the number of frames in the first frame of an MP3 file."""
  place = re.search(b"Xing|Info", mp3).start() + 8
  return mp3[:place] + count.to_bytes(4) + mp3[place + 4 :]


def without_count(mp3):
  """Drops the first frame, which holds the count; it may be shorter than others."""
  second = mp3.find(mp3[:2], 4)
  while mp3[second + 2] & 0x0C != mp3[2] & 0x0C:
    second = mp3.find(mp3[:2], second + 1)
  return mp3[second:]


def id3v2(payload):
  size = bytes(len(payload) >> shift & 0x7F for shift in (21, 14, 7, 0))
  return b"ID3\4\0\0" + size + payload


def ape(payload):
  size = (len(payload) + 32).to_bytes(4, "little")
  return payload + b"APETAGEX\xd0\x07\0\0" + size + b"\1\0\0\0" + bytes(12)


def flac_frame(flac, number):
  """Where a frame starts whose number is below 128."""
  start = flac.index(b"fLaC")
  for count in range(number + 1):
    pattern = rb"\xff\xf8[\x10-\xff].\x%02x" % count
    start += re.compile(pattern, re.DOTALL).search(flac[start:]).start()
  return start


def ogg_page(ogg, number):
  starts = [match.start() for match in re.finditer(b"OggS\0", ogg)]
  return starts[number]


def middle(content):
  return len(content) // 2


def insert(content, new):
  return content[: middle(content)] + new + content[middle(content) :]


def overwrite(content, new):
  return content[: middle(content)] + new + content[middle(content) + len(new) :]


def flip(content):
  return overwrite(content, bytes([content[middle(content)] ^ 1]))


def without_flac_frame(flac):
  return flac[: flac_frame(flac, 20)] + flac[flac_frame(flac, 21) :]


def without_ogg_page(ogg):
  return ogg[: ogg_page(ogg, 4)] + ogg[ogg_page(ogg, 5) :]


@pytest.mark.parametrize(
  ("suffix", "change", "reason"),
  [
    (".flac", lambda c: overwrite(c, bytes(64)), "damaged after .* s: "),
    (".flac", flip, "damaged after"),
    (".flac", lambda c: insert(c, GARBAGE), "damaged after"),
    (".flac", lambda c: c[: middle(c)], "damaged after"),
    (".flac", lambda c: c + GARBAGE, "damaged after"),
    (".flac", lambda c: c + c, "damaged after"),
    (".flac", without_flac_frame, r"after 1\.9 s: frames are lost"),
    (".flac", lambda c: with_total(without_flac_frame(c), 0), r"frames are lost"),
    (".ogg", without_ogg_page, r"after 3\.\d s: pages are lost"),
    (".opus", without_ogg_page, r"after 2\.0 s: pages are lost"),
    (".ogg", flip, "pages are lost or changed"),
    (".opus", flip, "pages are lost or changed"),
    (".ogg", lambda c: insert(c, GARBAGE), "pages are lost or changed"),
    (".ogg", lambda c: c + c, "several streams in a row"),
    (".opus", lambda c: c + c, "several streams in a row"),
    (".mp3", lambda c: insert(c, GARBAGE), "damaged"),
    (".mp3", lambda c: insert(c, bytes(20_000)), "damaged"),
    (".mp3", lambda c: overwrite(c, bytes(20_000)), "damaged"),
  ],
)
def test_damaged_file_is_refused(tone, encode, suffix, change, reason):
  rate = 48_000 if suffix == ".opus" else RATE
  content = encode(tone(440, rate, seconds=5), rate, suffix)
  with pytest.raises(AudioError, match=reason) as caught:
    decode(change(content), name="song 7")
  assert caught.value.file == "song 7"
  assert str(caught.value) == f"song 7: {caught.value.reason}"


@pytest.mark.parametrize(
  ("suffix", "change"),
  [
    (".flac", lambda c: with_total(c, 0)),
    (".flac", lambda c: with_total(c, RATE)),
    (".flac", lambda c: with_total(c, 5 * RATE + 1)),
    (".flac", lambda c: with_total(c, 2**36 - 1)),
    (".flac", lambda c: c + ID3V1),
    (".flac", lambda c: id3v2(c[:20_000]) + c),
    (".ogg", lambda c: c[: ogg_page(c, 4)] + GARBAGE + c[ogg_page(c, 4) :]),
    (".ogg", lambda c: c + GARBAGE),
    (".opus", lambda c: c + GARBAGE),
    (".mp3", lambda c: id3v2(c[:20_000]) + c),
    (".mp3", lambda c: id3v2(bytes(100)) + id3v2(GARBAGE) + c),
    (".mp3", lambda c: c + ID3V1),
    (".mp3", lambda c: c + ape(GARBAGE) + ID3V1),
    (".mp3", lambda c: c + GARBAGE),
    (".mp3", lambda c: c + bytes(20_000)),
  ],
)
def test_wrong_counts_tags_and_garbage_around_the_audio_change_nothing(
  tone, encode, suffix, change
):
  rate = 48_000 if suffix == ".opus" else RATE
  content = encode(tone(440, rate, seconds=5), rate, suffix)
  np.testing.assert_array_equal(decode(change(content))[0], decode(content)[0])


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_cut_file_gives_what_it_holds(tone, encode, suffix):
  """FLAC files only where a frame ends: they are refused elsewhere."""
  rate = 48_000 if suffix == ".opus" else RATE
  content = encode(tone(440, rate, seconds=5), rate, suffix)
  whole, _ = decode(content)
  cut = flac_frame(content, 20) if suffix == ".flac" else middle(content)
  audio, _ = decode(content[:cut])
  assert rate < audio.shape[1] < 4 * rate
  inner = slice(None, audio.shape[1] - 1152)
  np.testing.assert_allclose(audio[:, inner], whole[:, inner][:, : audio.shape[1]])


def taken_up_to_damage(content):
  """What can be used of a file: audio, what it announces, and its damage."""
  opened, blocks, damage = open_audio(content), [], None
  try:
    blocks.extend(opened.blocks)
  except DamagedAudioError as error:
    damage = error
  return np.concatenate(blocks, axis=1), opened, damage


@pytest.mark.parametrize(
  ("suffix", "change"),
  [
    (".flac", flip),
    (".flac", without_flac_frame),
    (".flac", lambda c: insert(c, GARBAGE)),
    (".ogg", without_ogg_page),
    (".ogg", flip),
    (".opus", without_ogg_page),
    (".mp3", lambda c: insert(c, GARBAGE)),
    (".mp3", lambda c: insert(c, GARBAGE[:300])),
    (".mp3", lambda c: overwrite(c, bytes(2000))),
  ],
)
def test_audio_before_a_hole_is_that_of_the_whole_file(tone, encode, suffix, change):
  rate = 48_000 if suffix == ".opus" else RATE
  content = encode(tone(440, rate, seconds=5), rate, suffix)
  whole, _ = decode(content)
  audio, _, damage = taken_up_to_damage(change(content))
  assert damage.seconds == audio.shape[1] / rate
  assert 1.3 < damage.seconds < 3.6
  np.testing.assert_allclose(audio, whole[:, : audio.shape[1]], atol=1e-6)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".flac", ".mp3"])
def test_what_a_cut_file_announces_is_known(tone, encode, suffix):
  content = encode(tone(440, RATE, seconds=5), RATE, suffix)
  _, opened, damage = taken_up_to_damage(content)
  assert damage is None
  assert opened.announced == 5 * RATE
  cut = flac_frame(content, 20) if suffix == ".flac" else middle(content)
  audio, opened, _ = taken_up_to_damage(content[:cut])
  assert opened.announced == 5 * RATE
  assert opened.announced - audio.shape[1] > opened.slack


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_cut_ogg_file_is_told_by_its_last_page(tone, encode, suffix):
  content = encode(tone(440, 48_000, seconds=5), 48_000, suffix)
  assert open_audio(content).cut == ""
  assert open_audio(content[: middle(content)]).cut == "its last page is missing"


def test_wav_file_with_bytes_that_belong_to_nothing_gets_a_warning(tone, encode):
  content = encode(tone(440, RATE), RATE, ".wav", "PCM_16")
  assert open_audio(content).warning == ""
  assert (
    open_audio(content + b"LIST" + (4).to_bytes(4, "little") + bytes(4)).warning == ""
  )
  place = content.index(b"data") + 4
  size = (RATE * 4).to_bytes(4, "little")  # one second of two
  warning = open_audio(content[:place] + size + content[place + 4 :]).warning
  assert warning.startswith("its header announces 1.0 s, and 176400 bytes after them")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_samples_shifted_by_a_byte_get_a_warning(tone, noise, encode, subtype):
  content = encode(tone(440, RATE), RATE, ".wav", subtype)
  start = content.index(b"data") + 8
  shifted = content[:start] + b"\0" + content[start:-1]
  assert "noise at full scale" in open_audio(shifted).warning
  loudest = encode(2 * noise(), RATE, ".wav", subtype)
  assert open_audio(content).warning == open_audio(loudest).warning == ""


def test_a_page_about_an_error_is_called_a_text(tmp_path):
  path = tmp_path / "song.mp3"
  path.write_text("<!DOCTYPE html>\n<title>404 Not Found</title>" + " " * 2000)
  with pytest.raises(AudioError, match=r"it is a text: '<!DOCTYPE html> <title>404"):
    decode(path)


@pytest.mark.parametrize("between", [b"", id3v2(bytes(500)), ID3V1 + id3v2(bytes(500))])
def test_joined_mp3_files_are_decoded_whole(tone, encode, frequency_of, between):
  first, second = (encode(tone(f, RATE), RATE, ".mp3") for f in (440, 880))
  audio, rate = decode(first + between + second)
  assert audio.shape[1] == pytest.approx(4 * rate, abs=4 * 1152)
  assert frequency_of(audio[0, : 2 * rate - 2000], rate) == 440
  assert frequency_of(audio[0, 2 * rate + 2000 :], rate) == 880


@pytest.mark.parametrize(
  "change",
  [
    lambda c: with_count(c, 0),
    lambda c: with_count(c, 50),
    lambda c: with_count(c, 5000),
    lambda c: GARBAGE[:5000] + c,
    without_count,
  ],
)
def test_mp3_file_is_whole_where_its_first_frame_is_wrong(tone, encode, change):
  """What the encoder adds at both ends may stay."""
  audio, rate = decode(change(encode(tone(440, RATE), RATE, ".mp3")))
  assert 2 * rate <= audio.shape[1] <= 2 * rate + 3 * 1152


def test_mp3_file_of_variable_bit_rate_needs_no_count():
  # The first frames are the largest: a length guessed from them is too short.
  noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 5 * RATE))
  noise[:, RATE:-RATE] = 0
  file = io.BytesIO()
  soundfile.write(file, noise.T, RATE, format="MP3", bitrate_mode="VARIABLE")
  content = without_count(file.getvalue())
  with soundfile.SoundFile(io.BytesIO(content)) as reader:
    assert reader.frames < 4 * RATE
  audio, _ = decode(content)
  assert audio.shape[1] == pytest.approx(5 * RATE, abs=4 * 1152)
  assert np.abs(audio[:, -RATE:]).max() > 0.3


@pytest.mark.parametrize(
  ("second", "reason"),
  [((48_000, 2), "sample rate changes"), ((RATE, 1), "number of channels changes")],
)
def test_mp3_file_that_changes_on_the_way_is_refused(tone, encode, second, reason):
  rate, num_channels = second
  content = encode(tone(440, RATE), RATE, ".mp3")
  content += encode(tone(440, rate, num_channels=num_channels), rate, ".mp3")
  with pytest.raises(AudioError, match=rf"{reason} midway.*convert it"):
    decode(content)


def test_flac_without_length_is_beyond_plain_soundfile(tone, encode):
  """Without this the reader of streams would not be needed."""
  content = with_total(encode(tone(440, RATE), RATE, ".flac"), 0)
  with pytest.raises((ValueError, MemoryError)):
    soundfile.read(io.BytesIO(content))
