"""Pages on disk: pictures, audio, names, what is refused."""

import base64
import html
import io
import json
import os
import re
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from page.songs import data_of, noise, write_page

from mixit_jax.errors import UserError
from mixit_jax.page.overview import write_overview
from mixit_jax.page.pictures import Pictures, frequency_marks
from mixit_jax.page.segments import MARGIN_SECONDS, SEGMENT_SECONDS
from mixit_jax.page.song_page import Captions, Fact, Track, song_page

RATE = 8000
STEMS = [Track("mixture", "mixture"), Track("a", "stem"), Track("b", "stem")]


def pictures_of(audio, block):
  found = Pictures(RATE, *audio.shape)
  for start in range(0, audio.shape[1], block):
    found.add(audio[:, start : start + block])
  found.finish()
  return found


def test_a_tone_is_a_line_where_the_marks_say():
  time = np.arange(6 * RATE) / RATE
  tone = np.sin(2 * np.pi * 1000 * time)[None].astype(np.float32)
  power = pictures_of(tone, 5000).spectrogram()
  bands, columns = power.shape
  height = dict(frequency_marks(RATE))["1k"]
  rows = power[:, columns // 4 : -columns // 4].argmax(axis=0)
  assert np.abs(rows / (bands - 1) - height).max() < 0.02


@pytest.mark.parametrize("length", [1, 7, 4000, 50_001])
def test_pictures_do_not_depend_on_blocks(length):
  audio = noise(1, 2, length)[0]
  one, many = pictures_of(audio, length), pictures_of(audio, 997)
  np.testing.assert_allclose(one.waveform(), many.waveform(), atol=1e-6)
  np.testing.assert_allclose(one.spectrogram(), many.spectrogram(), rtol=1e-4)
  assert one.energy == pytest.approx(many.energy) == pytest.approx((audio**2).sum())
  low, high, level = one.waveform()
  assert low.min() == min(audio.min(), 0)
  assert high.max() == max(audio.max(), 0)
  assert np.all(level <= np.maximum(-low, high) + 1e-6)


@pytest.mark.parametrize("length", [1, 10 * RATE, 10 * RATE + 1, 21 * RATE + 13])
def test_segments_hold_the_audio_at_its_place(tmp_path, length):
  time = np.arange(length) / RATE
  tones = [np.sin(2 * np.pi * hertz * time) / 3 for hertz in (200, 310, 470)]
  audio = np.array(tones, np.float32)[:, None].repeat(2, axis=1)
  write_page(tmp_path, STEMS, audio, RATE, block=12_345)
  files = sorted((tmp_path / "page/audio").iterdir())
  margin = round(MARGIN_SECONDS * RATE)
  segment = SEGMENT_SECONDS * RATE
  assert len(files) == -(-length // segment)
  for number, file in enumerate(files):
    head, _, rest = file.read_text().partition(",")
    assert head == f"receiveSegment({number}"
    begin = max(0, number * segment - margin)
    end = min(length, (number + 1) * segment + margin)
    for track, text in enumerate(json.loads(rest.rstrip(");\n"))):
      found, rate = soundfile.read(io.BytesIO(base64.b64decode(text)), always_2d=True)
      expected = audio[track, :, begin:end].T
      assert (rate, found.shape) == (RATE, expected.shape)
      assert np.abs(found - expected).mean() < 0.01


def test_equal_audio_gives_equal_pages(tmp_path):
  for name in ("one", "two"):
    write_page(tmp_path / name, STEMS, noise(3, 1, RATE), RATE)
  files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*")]
  assert len(files) >= 9
  for file in files:
    if (tmp_path / "one" / file).is_file():
      one, two = ((tmp_path / name / file).read_bytes() for name in ("one", "two"))
      assert one == two, file


NAMES = ['<script><b>&"', "a #?%41:é\n.wav", os.fsdecode(b"latin-1 \xe9")]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_escaped_and_linked(tmp_path, name):
  folder = tmp_path / name
  folder.mkdir()
  file = folder / f"{name}.wav"
  file.write_bytes(b"")
  tracks = [Track(name, "stem", file=file)]
  facts = [Fact(name, name, name)]
  write_page(
    folder, tracks, noise(1, 1, 50), RATE, title=name, captions=Captions(facts)
  )
  write_overview(tmp_path, name)
  for page in (folder / "index.html", tmp_path / "index.html"):
    text = page.read_text("utf-8")
    shown = os.fsencode(name).decode("utf-8", "replace")
    assert f"<title>{html.escape(shown)}</title>" in text
    assert text.count("<script") == text.count("</script>")
    assert "<b>" not in text
  (track,) = data_of(folder)["tracks"]
  assert (
    os.fsdecode(
      unquote(track["file"], errors="surrogateescape").encode(
        "utf-8", "surrogateescape"
      )
    )
    == file.name
  )
  (link,) = re.findall(r'<li><a href="([^"]*)"', (tmp_path / "index.html").read_text())
  target = tmp_path / os.fsdecode(
    unquote(link, errors="surrogateescape").encode("utf-8", "surrogateescape")
  )
  assert target == folder / "index.html"


def test_outputs_are_sorted_by_energy_and_references_follow_their_stem(tmp_path):
  tracks = [Track(name, "stem") for name in "abc"]
  tracks += [Track("x", "reference", "c"), Track("mix", "mixture"), Track("y", "rest")]
  audio = noise(6, 1, RATE) * np.array([1, 3, 2, 1, 1, 1], np.float32)[:, None, None]
  write_page(tmp_path, tracks, audio, RATE, captions=Captions(by_energy=True))
  found = data_of(tmp_path)["tracks"]
  assert [track["name"] for track in found] == ["mix", "b", "c", "x", "a", "y"]
  colors = {track["name"]: track["color"] for track in found}
  assert colors["mix"] == 0
  assert colors["x"] == colors["c"]
  assert len({colors[name] for name in "abcy"}) == 4
  levels = [fact["value"] for track in found for fact in track["facts"]]
  expected = 20 * np.log10(audio[1].std())
  assert levels[1] == f"{expected:.1f} dB".replace("-", "\N{MINUS SIGN}")


def test_silence_has_a_page(tmp_path):
  write_page(tmp_path, STEMS, np.zeros((3, 2, 100), np.float32), RATE)
  facts = [track["facts"] for track in data_of(tmp_path)["tracks"]]
  assert [fact["value"] for (fact,) in facts] == ["silent"] * 3


def test_what_is_no_page_is_never_replaced(tmp_path):
  audio = noise(3, 1, 100)
  (tmp_path / "index.html").write_text("mine")
  with pytest.raises(UserError, match=r"index\.html is there already"):
    write_page(tmp_path, STEMS, audio, RATE)
  with pytest.raises(UserError, match=r"index\.html is there already"):
    write_overview(tmp_path, "songs")
  assert (tmp_path / "index.html").read_text() == "mine"
  (tmp_path / "index.html").unlink()
  (tmp_path / "page").mkdir()
  with pytest.raises(UserError, match="is not of a page"):
    write_page(tmp_path, STEMS, audio, RATE)


def interrupt(folder, audio):
  """Interrupt the making of a page."""
  with song_page(folder, "new", STEMS, RATE, 1, 2 * audio.shape[2]) as page:
    page.add(audio)
    raise KeyboardInterrupt


def test_a_page_that_is_not_finished_leaves_the_one_before(tmp_path):
  audio = noise(3, 1, 200)
  write_page(tmp_path, STEMS, audio, RATE, title="before")
  files = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
  with pytest.raises(KeyboardInterrupt):
    interrupt(tmp_path, audio[..., :100])
  with pytest.raises(UserError, match="not finite"):
    write_page(tmp_path, STEMS, audio * np.float32(np.nan), RATE)
  assert files == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
  write_page(tmp_path, STEMS, audio, RATE, title="after")
  assert data_of(tmp_path)["title"] == "after"


def test_a_rate_that_no_page_can_have_is_known_before_any_audio(tmp_path):
  with (
    pytest.raises(UserError, match="300000 Hz cannot be put on a page"),
    song_page(tmp_path, "fast", STEMS, 300_000, 2, 100),
  ):
    pytest.fail("the audio was asked for")
  assert list(tmp_path.iterdir()) == []


def test_the_list_leaves_out_damaged_songs_and_itself(tmp_path):
  assert write_overview(tmp_path, "none") is None
  for name in ("one", "deeper/two", "bad"):
    write_page(tmp_path / name, STEMS, noise(3, 1, 900), RATE, title=name)
  (tmp_path / "bad/page/summary.json").write_text("{}")
  for _ in range(2):
    text = write_overview(tmp_path, "songs").read_text()
  found = re.findall(r'href="([^"]*index\.html)"', text)
  assert found == ["deeper/two/index.html", "one/index.html"]
