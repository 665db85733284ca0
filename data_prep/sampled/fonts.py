"""Which sound fonts play, and where they lie."""

from pathlib import Path

from mixit_jax.errors import UserError

FOLDERS = (
  Path("/usr/share/sounds/sf2"),
  Path("/usr/share/sounds/sf3"),
  Path("/usr/share/soundfonts"),
)
# Debian's packages. MuseScore's font descends from FluidR3, TimGM6mb does not.
PACKAGES = {
  "FluidR3_GM.sf2": "fluid-soundfont-gm",
  "MuseScore_General_Lite.sf3": "musescore-general-soundfont-small",
  "TimGM6mb.sf2": "timgm6mb-soundfont",
}
TRAINING_FONTS = ("FluidR3_GM.sf2",)
TEST_FONTS = ("TimGM6mb.sf2",)


def find_fonts(flag: str, names: str) -> list[Path]:
  """Find sound fonts.

  Args:
    flag: the flag that names them.
    names: paths, or names of files in `FOLDERS`, separated by commas.

  Raises:
    UserError: one is missing, or is no sound font.
  """
  fonts = []
  for name in filter(None, (part.strip() for part in names.split(","))):
    candidates = [Path(name), *(folder / name for folder in FOLDERS)]
    font = next((path for path in candidates if path.is_file()), None)
    if font is None:
      package = PACKAGES.get(name)
      remedy = f"apt install {package}, or " if package else ""
      raise UserError(f"{flag}: no sound font {name}; {remedy}name another one")
    with font.open("rb") as file:
      head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"sfbk":
      raise UserError(f"{flag}: {font} is no sound font (SF2 or SF3)")
    fonts.append(font)
  if not fonts:
    raise UserError(f"{flag}: names no sound font")
  return fonts
