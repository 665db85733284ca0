"""What docs/architecture.md shows is what the package holds."""

import importlib
import re
from pathlib import Path

from test_structure import FLOORS, modules

import mixit_jax

TEXT = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text("utf-8")
LONGEST_WALK = 15


def section(title):
  """The text below a heading."""
  _, found, rest = TEXT.partition(f"\n## {title}\n")
  assert found, title
  return re.split(r"^## ", rest, flags=re.MULTILINE)[0]


def picture():
  """Pairs of floor and module, by the order of the picture.

  A line names a room, with a slash where it is a folder, behind the number of its floor
  if that is a new one; the lines below list the modules of a folder.
  """
  floor, room, found = None, None, []
  lines = section("The floors").split("```")[1].splitlines()
  for line in filter(str.strip, lines[2:]):
    if head := re.match(r"  ([0-9 ])    (\w+/?) {2,}\S", line):
      floor = floor if head[1] == " " else int(head[1])
      room = head[2]
      if not room.endswith("/"):
        found.append((floor, room))
    else:
      listed = re.fullmatch(r" {21}([\w/]+( · [\w/]+)*)", line)
      assert listed, f"neither a room nor its modules: {line}"
      found += [(floor, room + name) for name in listed[1].split(" · ")]
  return [(floor, name.replace("/", ".")) for floor, name in found]


def walk():
  """Full names of the functions of the walk, in order."""
  text = section("One mixture, from file to stem")
  return re.findall(r"^\d+\. `([\w.]+)`", text, flags=re.MULTILINE)


def look_up(name):
  """Import the longest part of a dotted name that is a module; get the rest from it."""
  parts = name.split(".")
  for end in range(len(parts) - 1, 0, -1):
    try:
      found = importlib.import_module(".".join(parts[:end]))
    except ModuleNotFoundError:
      continue
    for part in parts[end:]:
      found = getattr(found, part)
    return found
  raise ModuleNotFoundError(name)


def test_the_picture_shows_every_module_of_the_package_once_and_no_other():
  shown = sorted(name for _, name in picture())
  files = [
    name.removeprefix("mixit_jax.")
    for name in modules(mixit_jax)
    if not hasattr(importlib.import_module(name), "__path__")
  ]
  assert shown == sorted(files)


def test_the_picture_shows_every_room_on_its_floor():
  shown = {name.split(".")[0]: floor for floor, name in picture()}
  assert shown == FLOORS


def test_every_function_of_the_walk_exists():
  for name in walk():
    assert callable(look_up(name)), name


def test_the_walk_is_short_and_enters_no_function_twice():
  names = walk()
  assert 0 < len(names) <= LONGEST_WALK
  assert len(set(names)) == len(names)


def test_the_walk_is_numbered_without_gaps():
  text = section("One mixture, from file to stem")
  numbers = re.findall(r"^(\d+)\. ", text, flags=re.MULTILINE)
  assert numbers == [str(place) for place in range(1, len(walk()) + 1)]


def test_every_other_place_that_the_text_names_exists():
  names = re.findall(rf"`((?:{'|'.join(FLOORS)})\.\w[\w.]*)`", TEXT)
  assert names
  for name in names:
    assert look_up(f"mixit_jax.{name}"), name
