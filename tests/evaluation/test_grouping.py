"""Adding outputs of a pre-trained model to stems."""

import itertools
import json

import numpy as np
import pytest

from mixit_jax.errors import UserError
from mixit_jax.evaluation.channels import write_choice
from mixit_jax.evaluation.grouping import group_channels


def noise(*shape, seed):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def divided(owners, parts, seed=0, length=3000):
  """Stems [N, C, L] whose parts are the outputs [M, C, L]; noise where none owns."""
  outputs = noise(len(owners), 2, length, seed=seed)
  stems = np.zeros((parts, 2, length), np.float32)
  for output, owner in zip(outputs, owners, strict=True):
    if owner is not None:
      stems[owner] += output
  return stems, outputs


def sdrs(songs, groups):
  """SDR of every stem from waveforms, averaged over the songs."""
  table = []
  for chunks in songs:
    stems, outputs = (
      np.concatenate(part, -1).astype(float) for part in zip(*chunks, strict=True)
    )
    sums = np.stack([outputs[list(group)].sum(axis=0) for group in groups])
    error = np.sum((stems - sums) ** 2, axis=(1, 2))
    table.append(10 * np.log10(np.sum(stems**2, axis=(1, 2)) / error))
  return np.mean(table, axis=0)


def test_parts_of_stems_are_put_together():
  chunks = [divided([2, 0, 0, None, 1, 0, 2], 3, seed=seed) for seed in range(3)]
  found = group_channels([chunks], ("a", "b", "c"), most=4)
  assert found.groups == ((1, 2, 5), (4,), (0, 6))
  assert min(found.sdr_db) > 60
  assert found.single_sdr_db[0] < 5


def test_no_group_is_larger_than_allowed():
  chunks = [[divided([0, 0, 0, 1, 1], 2)]]
  found = group_channels(chunks, ("a", "b"), most=2)
  assert sorted(map(len, found.groups)) == [2, 2]
  one = group_channels(chunks, ("a", "b"), most=1)
  assert one.sdr_db == one.single_sdr_db


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_as_good_as_the_best_of_all(seed):
  """Outputs that hold several stems, songs of unequal level: against trying all."""
  rng = np.random.default_rng(seed)
  songs = []
  mixing = rng.dirichlet(0.3 * np.ones(5), size=2)
  for number in range(3):
    level = np.float32(10.0 ** (number - 1))
    chunks = []
    for part in range(2):
      outputs = level * noise(5, 2, 500, seed=[seed, number, part])
      stems = np.einsum("nm,mcl->ncl", mixing, outputs).astype(np.float32)
      stems += level * noise(2, 2, 500, seed=[seed, number, part, 1])
      chunks.append((stems, outputs))
    songs.append(chunks)
  found = group_channels(songs, ("a", "b"), most=5, least_gain=1e-9)
  np.testing.assert_allclose(found.sdr_db, sdrs(songs, found.groups), atol=1e-4)
  best = max(
    sdrs(songs, [[m for m in range(5) if owners[m] == n] for n in range(2)]).mean()
    for owners in itertools.product(range(3), repeat=5)
    if {0, 1} <= set(owners)
  )
  assert np.mean(found.single_sdr_db) <= np.mean(found.sdr_db)
  assert np.mean(found.sdr_db) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(
  ("chunks", "words"),
  [
    ([], "found no chunk"),
    ([(noise(2, 2, 9, seed=0), noise(1, 2, 9, seed=1))], "has 1 outputs for 2 stems"),
    (
      [(noise(2, 2, 9, seed=0) * [[[1]], [[0]]], noise(3, 2, 9, seed=1))],
      "no chunk with drums",
    ),
  ],
)
def test_songs_that_do_not_serve_are_refused(chunks, words):
  with pytest.raises(UserError, match=words):
    group_channels([chunks], ("voice", "drums"), most=2)


def test_what_hardly_helps_is_left_out():
  stems, outputs = divided([0, 1, None], 2)
  stems[0] += 0.05 * outputs[2] + 0.5 * noise(*stems[0].shape, seed=9)
  outputs[2] *= 0.05
  groups = [
    group_channels([[(stems, outputs)]], ("a", "b"), 2, least).groups
    for least in (1e-9, 0.1)
  ]
  assert groups == [((0, 2), (1,)), ((0,), (1,))]


def test_a_stem_counts_only_in_songs_in_which_it_sounds():
  with_drums = [divided([0, 0, 1, 1], 2)]
  stems, outputs = divided([0, 0, 0, None], 2, seed=1)
  found = group_channels([with_drums, [(stems, outputs)], []], ("a", "b"), most=3)
  assert found.groups == ((0, 1), (2, 3))
  assert found.sdr_db[1] > 60


def test_groups_are_stored_with_their_weights(tmp_path):
  found = group_channels([[divided([1, 0, 0], 2)]], ("a", "b"), most=2)
  write_choice(tmp_path / "groups.json", found, {"run": "runs/a"})
  stored = json.loads((tmp_path / "groups.json").read_text())
  assert stored["groups"] == [[1, 2], [0]]
  assert stored["weights"] == {"run": "runs/a"}
