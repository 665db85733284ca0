"""A browser without a window, for tests that need one."""

import os
import shutil

import pytest


@pytest.fixture(scope="session")
def browser():
  """Headless Chromium; tests that need it are skipped where it is absent."""
  webdriver = pytest.importorskip("selenium.webdriver")
  named = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
  paths = next(filter(None, named), None), shutil.which("chromedriver")
  if None in paths:
    pytest.skip("no chromium and chromedriver (apt install chromium chromium-driver)")
  options = webdriver.ChromeOptions()
  options.binary_location = paths[0]
  for flag in ("headless=new", "disable-gpu", "disable-dev-shm-usage", "mute-audio"):
    options.add_argument(f"--{flag}")
  if hasattr(os, "geteuid") and os.geteuid() == 0:
    options.add_argument("--no-sandbox")  # root has none, as in containers
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  service = webdriver.ChromeService(paths[1])
  driver = webdriver.Chrome(options, service)
  driver.set_script_timeout(60)
  yield driver
  driver.quit()
