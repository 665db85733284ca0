"""The page that lists all songs of a folder, with a link to the page of each."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixit_jax.errors import UserError
from mixit_jax.files import check_file_writable, read_json, write_text
from mixit_jax.page.document import PAGE, asset, check_page, fill, link
from mixit_jax.page.song_page import PARTS, SUMMARY

_COLUMNS = 200  # of the waveform of a card


def write_overview(root: Path, title: str) -> Path | None:
  """List the songs below a folder that have a page.

  Args:
    root: folder of the list, and of all songs.
    title: what they are.

  Returns:
    the page, or None where no song has one.

  Raises:
    UserError: the folder is not writable, or something else has the name of the page.
  """
  check_page(root)
  summaries = sorted(root.rglob(f"{PARTS}/{SUMMARY}"))
  cards = [
    _card(root, folder, summary)
    for summary in summaries
    if (folder := summary.parent.parent) != root and (folder / PAGE).is_file()
  ]
  if not cards:
    return None
  text = fill(
    "overview.html",
    title=title,
    count="1 song" if len(cards) == 1 else f"{len(cards)} songs",
    body="\n".join(filter(None, cards)),
    style=asset("style.css"),
    script=asset("theme.js"),
  )
  write_text(root / PAGE, text)
  return root / PAGE


def check_overview(root: Path) -> None:
  """Raise a UserError unless the pages of songs and their list can be written."""
  check_page(root)
  check_file_writable(root / PAGE)


def _card(root: Path, folder: Path, summary: Path) -> str:
  try:
    song = read_json(summary)
    facts: Sequence[Any] = song["facts"]
    minutes, seconds = divmod(int(song["seconds"]), 60)
    rows = "".join(
      f"<div><dt>{html.escape(fact['label'])}</dt>"
      f"<dd>{html.escape(fact['value'])}</dd></div>"
      for fact in facts
    )
    return (
      f'<li><a href="{link((folder / PAGE).relative_to(root))}">'
      f"<h2>{html.escape(song['title'])} <time>{minutes}:{seconds:02}</time></h2>"
      f"{_drawing(song['waveform'])}"
      f'<dl class="facts">{rows}</dl></a></li>'
    )
  except (UserError, KeyError, TypeError, ValueError):
    return ""  # damaged: left out, as the other songs are there


def _drawing(packed: str) -> str:
  """Draw a waveform as it stands in the data of a page."""
  low, high, _ = np.frombuffer(base64.b64decode(packed), np.int8).reshape(-1, 3).T
  columns = min(_COLUMNS, len(low))
  starts = np.arange(columns) * len(low) // columns
  lows = np.minimum.reduceat(low, starts).astype(int)
  highs = np.maximum.reduceat(high, starts).astype(int)
  # One line along the upper ends and back along the lower ones.
  above = [f"{x} {127 - top}" for x, top in enumerate(highs)]
  below = [f"{x} {128 - bottom}" for x, bottom in enumerate(lows)]
  outline = "L".join([*above, *reversed(below)])
  return (
    f'<svg viewBox="0 0 {max(columns - 1, 1)} 255" preserveAspectRatio="none"'
    f' aria-hidden="true"><path d="M{outline}Z"/></svg>'
  )
