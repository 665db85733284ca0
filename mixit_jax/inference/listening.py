"""What the pages of separated recordings say, and the pages of channel selection."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixit_jax.audio.recording import Recording
from mixit_jax.audio.streams import in_step
from mixit_jax.data.ahead import ahead, one_ahead
from mixit_jax.data.song_streams import open_song
from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import SELECTION_FILE
from mixit_jax.evaluation.song_scores import Report
from mixit_jax.files import read_json
from mixit_jax.inference.estimates import Layout
from mixit_jax.inference.model import Model
from mixit_jax.page.overview import write_overview
from mixit_jax.page.song_page import (
  Captions,
  Fact,
  Kind,
  SongPage,
  Track,
  decibels,
  song_page,
)
from mixit_jax.stems import MIXTURE

_VOTES = (
  "Chunks of the validation songs in which this output was the best match of a stem."
)


class Pages(NamedTuple):
  """Pages of separated recordings.

  Attributes:
    root: folder of the page that lists all.
    model: name of the model.
    named: whether its outputs are stems; else they are sorted by energy.
    votes: facts about outputs, by their names.
  """

  root: Path
  model: str
  named: bool
  votes: Mapping[str, Sequence[Fact]]


def pages_of(root: Path, run: Path, model: Model) -> Pages:
  """Plan pages of what a model separates.

  Outputs of a pre-trained model get the votes of its last channel selection.

  Args:
    root: folder of the recordings.
    run: folder of the model.
    model: the model.
  """
  named = model.weights.stems is not None
  votes: Mapping[str, Sequence[Fact]] = {}
  if not named and (run / SELECTION_FILE).is_file():
    # A selection for other weights has other outputs, or is damaged: no votes then.
    with contextlib.suppress(UserError, KeyError, TypeError, ValueError, IndexError):
      votes = vote_facts(read_json(run / SELECTION_FILE), model.stems)
  return Pages(root, run.resolve().name, named, votes)


@contextlib.contextmanager
def separation_page(
  pages: Pages,
  recording: Recording,
  layout: Layout,
  folder: Path,
  results: Mapping[str, Path],
) -> Iterator[SongPage]:
  """Write the page of a recording.

  Args:
    pages: what all pages share.
    recording: the recording.
    layout: sizes of its results.
    folder: of the page.
    results: file of each result, by its name.

  Yields:
    what takes the results and, last, the mixture [K + 1, C, l].
  """
  kinds: dict[str, Kind] = {
    name: "rest" if name.startswith("no_") else "stem" for name in results
  }
  tracks = [Track(name, kinds[name], file=file) for name, file in results.items()]
  tags = recording.tags
  channels = {1: "mono", 2: "stereo"}.get(layout.num_channels)
  facts = [
    *(Fact(tag, tags[tag]) for tag in ("artist", "album") if tags.get(tag)),
    Fact("model", pages.model),
    Fact("rate", f"{layout.sample_rate / 1000:g} kHz"),
    Fact("channels", channels or str(layout.num_channels)),
  ]
  title = tags.get("title") or folder.name
  if title == MIXTURE:  # as in MUSDB, where the folder has the name
    title = recording.path.parent.name
  with song_page(
    folder, title, [*tracks, Track(_mixture_name(results), "mixture")], *layout
  ) as page:
    page.captions = Captions(facts, pages.votes, not pages.named, pages.root)
    yield page


def vote_facts(
  selection: Mapping[str, Any], outputs: Sequence[str]
) -> dict[str, list[Fact]]:
  """Return what a channel selection says of each output.

  Args:
    selection: what `ChannelSelection.to_dict` returns.
    outputs: names of the outputs.

  Raises:
    KeyError, TypeError, ValueError, IndexError: it is not a selection among these.
  """
  votes = np.array(selection["votes"])
  if votes.shape != (len(selection["stems"]), len(outputs)):
    raise ValueError("the selection is for other outputs")
  facts: dict[str, list[Fact]] = {name: [] for name in outputs}
  chosen = zip(
    selection["stems"], selection["outputs"], selection["mean_snr_db"], strict=True
  )
  for stem, output, snr in chosen:
    facts[outputs[output]] += [
      Fact("chosen as", stem, "Channel selection takes this output as the stem."),
      Fact("SNR", decibels(snr), "Of the stem, mean over the chunks where it sounds."),
    ]
  for output, counts in zip(outputs, votes.T, strict=True):
    voted = sorted(zip(-counts, selection["stems"], strict=True))
    text = ", ".join(f"{stem} {-count}" for count, stem in voted if count)
    facts[output].append(Fact("votes", text or "none", _VOTES))
  return facts


def write_selection_pages(
  model: Model,
  songs: Sequence[Path],
  selection: Mapping[str, Any],
  root: Path,
  name: str,
  report: Report,
) -> None:
  """Separate songs; write a page of each with all outputs, references and votes.

  Args:
    model: a pre-trained model.
    songs: folders of the songs.
    selection: what `ChannelSelection.to_dict` returns.
    root: folder of the pages, `root/<song>/index.html`, and of their list.
    name: of the model.
    report: told of the progress.

  Raises:
    UserError: a song cannot be read, or a page cannot be written.
  """
  stems = selection["stems"]
  facts = vote_facts(selection, model.stems)
  chosen = [model.stems[output] for output in selection["outputs"]]
  references = [
    Track(f"{stem} (reference)", "reference", output)
    for stem, output in zip(stems, chosen, strict=True)
  ]
  tracks = [Track(output, "stem") for output in model.stems]
  for folder in songs:
    song = open_song(folder, stems, model.sample_rate, model.config.num_channels)
    layout = Layout(song.sample_rate, song.num_channels, song.length)
    all_tracks = [Track(MIXTURE, "mixture"), *tracks, *references]
    with (
      report.progress(song.name, song.seconds) as advance,
      song_page(root / song.name, song.name, all_tracks, *layout) as page,
      closing(ahead(song.mixture_blocks())) as mixture,
      closing(ahead(song.reference_blocks())) as reference,
      closing(
        model.separate_blocks(ahead(song.mixture_blocks()), song.length)
      ) as estimates,
    ):
      page.captions = Captions([Fact("model", name)], facts, True, root)
      blocks = (
        np.concatenate([parts[0][None], *parts[1:]])
        for parts in in_step([mixture, estimates, reference])
      )
      _hear(blocks, page.add, advance, song.sample_rate)
  write_overview(root, f"Outputs of {name}")


def _hear(
  blocks: Iterator[np.ndarray],
  take: Callable[[np.ndarray], None],
  advance: Callable[[float], object],
  sample_rate: int,
) -> None:
  """Put blocks on a page in another thread, while the next ones are made."""

  def heard(block: np.ndarray) -> int:
    take(block)
    return block.shape[-1]

  with closing(one_ahead(heard, blocks)) as done:
    for samples in done:
      advance(samples / sample_rate)


def _mixture_name(results: Mapping[str, Path]) -> str:
  """Return a name that no result has."""
  name = MIXTURE
  while name in results:
    name = f"the {name}"
  return name
