"""Take a still of a listening page: `python docs/figures/still.py PAGE IMAGE [dark]`.

Needs Chromium, its driver and selenium (the extra `dev`). The page is opened from disk,
played for a moment and paused at a third of the song.
"""

import io
import os
import shutil
import sys
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver

SIZE = 1180, 1050


def main(page: str, image: str, theme: str = "light") -> None:
  """Write the still."""
  options = webdriver.ChromeOptions()
  options.binary_location = shutil.which("chromium")
  for flag in ("headless=new", "disable-gpu", "hide-scrollbars", "mute-audio"):
    options.add_argument(f"--{flag}")
  if os.geteuid() == 0:
    options.add_argument("--no-sandbox")
  service = webdriver.ChromeService(shutil.which("chromedriver"))
  with webdriver.Chrome(options, service) as browser:
    width, height = SIZE
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
    browser.execute_cdp_cmd(
      "Emulation.setDeviceMetricsOverride", {**metrics, "mobile": False}
    )
    scheme = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(Path(page).resolve().as_uri())
    browser.execute_script("setView('both'); player.seek(song.seconds / 3)")
    browser.find_element("id", "play").click()
    while browser.execute_script("return player.position <= song.seconds / 3"):
      time.sleep(0.1)
    screen = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
  screen.convert("RGB").save(image, quality=88)


if __name__ == "__main__":
  main(*sys.argv[1:])
