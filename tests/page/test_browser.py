"""The page in a browser, opened from disk: what is heard, seen and said."""

import time

import numpy as np
import pytest
from page.songs import write_page

from mixit_jax.page.overview import write_overview
from mixit_jax.page.song_page import Captions, Fact, Track

RATE = 8000
SECONDS = 24
SEAM = 10  # s, where one segment of audio ends
NAMES = ("mixture", "vocals", "the <b>rest</b> &amp; more")

# Resolves with what reaches the gain of each track, [K, samples], while it plays. It
# listens in the thread of the audio: a busy machine makes it slower, but loses nothing.
CAPTURE = """
const [seconds, done] = arguments;
const { context, gains } = player;
const processor = `
  registerProcessor("tap", class extends AudioWorkletProcessor {
    constructor({ processorOptions: { left } }) {
      super();
      this.left = left;
      this.blocks = [];
    }
    process([tracks]) {
      if (this.left <= 0) return false;
      this.blocks.push(tracks.map((track) => track.slice()));
      this.left -= 128;
      if (this.left <= 0) this.port.postMessage(this.blocks);
      return true;
    }
  });`;
// Pages from disk may not load a blob.
const address = `data:text/javascript,${encodeURIComponent(processor)}`;
const ready = window.tapped ??= context.audioWorklet.addModule(address);
ready.then(() => {
  const merger = context.createChannelMerger(gains.length);
  const tap = new AudioWorkletNode(context, "tap", {
    processorOptions: { left: seconds * context.sampleRate },
  });
  tap.port.onmessage = ({ data }) => {
    merger.disconnect();
    const silence = Array(128).fill(0); // of a track that nothing sounds in
    const all = (i) => data.flatMap((block) => [...(block[i] ?? silence)]);
    done(gains.map((_, i) => all(i)));
  };
  gains.forEach((gain, i) => gain.connect(merger, 0, i));
  merger.connect(tap).connect(context.destination);
});
"""


def clicks():
  """Clicks every 0.5 s, from the seam on every 0.25 s, in all tracks."""
  audio = np.zeros((3, 1, SECONDS * RATE), np.float32)
  burst = np.sin(2 * np.pi * 1500 * np.arange(40) / RATE) * np.hanning(40)
  begun = [*np.arange(0.5, SEAM, 0.5), *np.arange(SEAM, SECONDS - 0.1, 0.25)]
  for start in (np.array(begun) * RATE).astype(int):
    audio[:, 0, start : start + 40] += burst
  return audio * np.array([0.9, 0.6, 0.3], np.float32)[:, None, None]


def times(samples):
  """When the clicks of a track are loudest, in seconds."""
  level = np.convolve(np.abs(samples), np.ones(32) / 32, "same")
  assert level.max() > 0.01, "silent"
  loud = np.flatnonzero(level > 0.5 * level.max())
  groups = np.split(loud, np.flatnonzero(np.diff(loud) > 400) + 1)
  return np.array([group.mean() for group in groups]) / RATE


@pytest.fixture(scope="module")
def song(tmp_path_factory):
  """Folder of a page whose name tries everything."""
  root = tmp_path_factory.mktemp("pages")
  folder = root / 'a #?%41 "song" <i>é'
  tracks = [Track(name, "stem" if i else "mixture") for i, name in enumerate(NAMES)]
  facts = {NAMES[1]: [Fact("uSDR", "7.1 dB", "a ratio")]}
  captions = Captions((), facts, overview=root)
  write_page(folder, tracks, clicks(), RATE, folder.name, captions=captions)
  write_overview(root, "songs")
  return folder


@pytest.fixture
def page(browser, song):
  """The page, just opened; afterwards nothing was wrong."""
  browser.set_window_size(1200, 900)
  browser.get((song / "index.html").as_uri())
  browser.get_log("browser")
  yield browser
  assert browser.get_log("browser") == []


def control(page, name):
  """The button or slider that screen readers call so, from the next frame on."""
  label = f"main [aria-label='{name}']"
  wait_for(lambda: page.find_elements("css selector", label))
  found = page.find_element("css selector", label)
  assert found.is_displayed()
  return found


def key(page, name):
  """Press a key while nothing has the focus."""
  from selenium.webdriver.common.action_chains import ActionChains

  page.execute_script("document.activeElement.blur()")
  ActionChains(page).send_keys(name).perform()


def position(page):
  return page.execute_script("return player.position")


def wait_for(condition, seconds=30):
  """Wait until something holds: machines may be busy."""
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, "it never happened"
    time.sleep(0.05)


def play(page, begin, end):
  """Play a part again and again, and wait until sound comes."""
  page.execute_script(
    "const [begin, end] = arguments; player.setLoop({ on: true, begin, end });"
    "player.seek(begin)",
    begin,
    end,
  )
  if not page.execute_script("return player.playing"):
    control(page, "Play").click()
  wait_for(lambda: position(page) > begin)


def capture(page, seconds):
  return np.array(page.execute_async_script(CAPTURE, seconds))


def levels(page):
  """Which tracks are heard."""
  time.sleep(0.2)  # gains change within hundredths
  return [bool(np.abs(track).max() > 0.01) for track in capture(page, 0.8)]


def test_all_tracks_play_in_step_where_segments_meet_and_where_a_loop_begins(page):
  play(page, SEAM - 1.6, SEAM + 1.4)
  page.execute_script("for (const view of views) view.muted = view.solo = false; mix()")
  time.sleep(0.2)
  heard = [times(track) for track in capture(page, 4.5)]
  for other in heard[1:]:
    assert len(other) == len(heard[0]) > 8
    assert np.abs(other - heard[0]).max() < 0.001  # 50 ms are asked for
  # Neither the seam nor the loop moves a sample: clicks come every 0.5 or 0.25 s.
  gaps = np.diff(heard[0])
  np.testing.assert_allclose(gaps, np.round(gaps * 4) / 4, atol=0.001)
  assert set(np.round(gaps * 4)) == {1, 2}


def test_seeking_plays_from_there(page):
  from selenium.webdriver.common.keys import Keys

  for begin, end, gap in ((1, 9, 0.5), (11, 23, 0.25)):
    play(page, begin, end)
    assert np.median(np.diff(times(capture(page, 2)[1]))) == pytest.approx(
      gap, abs=1e-3
    )
  control(page, "Pause").click()
  stopped = position(page)
  time.sleep(0.3)
  assert position(page) == stopped
  ruler = control(page, "Position")
  ruler.click()  # in the middle
  assert position(page) == pytest.approx(SECONDS / 2, abs=0.1)
  key(page, Keys.ARROW_LEFT)
  assert position(page) == pytest.approx(SECONDS / 2 - 5, abs=0.1)
  key(page, Keys.HOME)
  assert position(page) == 11  # where the loop begins
  wait_for(lambda: ruler.get_attribute("aria-valuetext") == "0:11 of 0:24")  # drawn


def test_solo_mute_and_volume_act(page):
  play(page, 11, 23)
  assert levels(page) == [False, True, True]  # the sum of the stems, not twice
  control(page, "Mute vocals").click()
  assert levels(page) == [False, False, True]
  control(page, "Solo mixture").click()
  assert control(page, "Solo mixture").get_attribute("aria-pressed") == "true"
  assert levels(page) == [True, False, False]
  key(page, "0")
  control(page, "Mute vocals").click()
  assert levels(page) == [False, True, True]
  before = capture(page, 0.8)[1]
  page.execute_script(
    "const s = views[1].slider; s.value = 50; s.dispatchEvent(new Event('input'))"
  )
  time.sleep(0.2)
  after = capture(page, 0.8)[1]
  assert np.abs(after).max() / np.abs(before).max() == pytest.approx(0.25, rel=0.1)


def test_a_part_that_is_dragged_is_looped(page):
  from selenium.webdriver.common.action_chains import ActionChains

  ruler = control(page, "Position")
  width = ruler.rect["width"]
  drag = ActionChains(page).move_to_element_with_offset(ruler, 0, 0)
  drag.click_and_hold().move_by_offset(20, 0).move_by_offset(width / 16 - 20, 0)
  drag.release().perform()
  assert control(page, "Loop").get_attribute("aria-pressed") == "true"
  begin, end = page.execute_script("return [player.loop.begin, player.loop.end]")
  assert (begin, end) == (pytest.approx(12, abs=0.1), pytest.approx(13.5, abs=0.1))
  assert position(page) == begin
  control(page, "Play").click()
  places, turns = [begin], 0
  limit = time.monotonic() + 60
  while turns < 2 and time.monotonic() < limit:
    places.append(position(page))
    turns += places[-1] < places[-2]
  assert turns == 2
  assert begin <= min(places)
  assert max(places) <= end


def test_the_end_stops(page):
  page.execute_script("player.seek(arguments[0])", SECONDS - 0.5)
  control(page, "Play").click()
  wait_for(lambda: not page.execute_script("return player.playing"))
  assert position(page) == 0
  assert control(page, "Play").is_displayed()


def test_pictures_links_and_names_are_there(page, song):
  (heading,) = page.find_elements("css selector", "h1")
  assert heading.text == song.name
  headings = [e.text for e in page.find_elements("css selector", ".track h2")]
  assert tuple(headings) == NAMES
  for image in page.find_elements("css selector", ".spectrum img"):
    wait_for(lambda i=image: i.get_property("naturalWidth") > 0)
    assert image.accessible_name.startswith("Spectrogram of ")
  drawn = page.execute_script(
    "return [...document.querySelectorAll('canvas')].map((c) =>"
    " c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean))"
  )
  assert drawn == [True] * 4
  for element in page.find_elements("css selector", "button, input, a"):
    assert not element.is_displayed() or element.accessible_name
  files = {p.as_uri() for p in song.glob("page/*.ogg")}
  links = page.find_elements("css selector", "a.file")
  assert {link.get_property("href") for link in links} == files
  page.find_element("id", "back").click()
  assert page.title == "songs"
  (card,) = page.find_elements("css selector", ".songs a")
  card.click()
  assert page.title == song.name


def test_it_fits_a_phone_in_both_themes(page):
  def ground():
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")

  def system(scheme, width):
    page.execute_cdp_cmd(
      "Emulation.setEmulatedMedia",
      {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    metrics = {"width": width, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

  try:
    seen = []
    for scheme in ("light", "dark"):
      system(scheme, 360)
      seen.append(ground())
      wide = "return document.documentElement.scrollWidth"
      assert page.execute_script(wide) <= 360
      last = page.find_elements("css selector", ".transport button")[-1].rect
      assert last["x"] + last["width"] <= 350  # within the padding
    assert len(set(seen)) == 2
    key(page, "t")
    assert ground() == seen[0]
    page.refresh()
    wait_for(lambda: ground() == seen[0])  # remembered
  finally:
    page.execute_script("localStorage.clear()")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_audio_that_is_missing_is_told(browser, song, tmp_path):
  import shutil

  copy = shutil.copytree(song, tmp_path / "copy")
  (copy / "page/audio/0000.js").unlink()
  browser.get((copy / "index.html").as_uri())
  browser.find_element("id", "play").click()
  notice = browser.find_element("id", "notice")
  wait_for(notice.is_displayed)
  assert notice.text == "page/audio/0000.js is missing beside this page."
  assert not browser.execute_script("return player.playing")
  browser.get_log("browser")
