"""What runs take from their data: stems, several folders, damaged records."""

import json
import shutil

import pytest
from training.tiny import STEMS, finetune_config, pretrain_config, write_music

from mixit_jax.data.manifest import Manifest
from mixit_jax.errors import UserError
from mixit_jax.training.config import Config
from mixit_jax.training.dataset import settle_data
from mixit_jax.training.loop import train
from mixit_jax.weights.runs import describe_weights, read_meta


def prepared(folder, stems=(), num_channels=2, sources=STEMS):
  """A manifest without shards."""
  folder.mkdir(exist_ok=True)
  Manifest(
    kind="musdb",
    sample_rate=2000,
    seconds=1.0,
    hop_seconds=0.5,
    num_channels=num_channels,
    codec="flac",
    splits={"train": {source: [] for source in sources}},
    stems=list(stems),
  ).save(folder)
  return folder


def test_stems_are_those_of_the_data_in_its_order(tmp_path):
  mine = prepared(tmp_path / "mine", ("voice", "guitar"), sources=("guitar", "voice"))
  config = finetune_config(mine).changed(model={"num_sources": 2})
  settled = settle_data(config)
  assert settled.data.stems == ("voice", "guitar")
  assert settle_data(settled) == settled
  with pytest.raises(UserError, match=r"num_sources = 4 but .*num_sources=2"):
    settle_data(finetune_config(mine))
  for stems in (("guitar", "voice"), ("voice", "piano")):
    with pytest.raises(UserError, match=r"prepared for the stems voice,guitar in"):
      settle_data(config.changed(data={"stems": stems}))
  assert not settle_data(pretrain_config(mine)).data.stems


def test_data_that_does_not_note_the_order_serves_in_any(tmp_path):
  config = finetune_config(prepared(tmp_path / "old"))
  assert settle_data(config).data.stems == STEMS
  turned = config.changed(data={"stems": STEMS[::-1]})
  assert settle_data(turned) == turned
  with pytest.raises(UserError, match="prepared for the stems bass,drums,vocals,other"):
    settle_data(config.changed(data={"stems": ("bass", "drums", "vocals", "piano")}))


def test_data_that_does_not_fit_is_named(tmp_path):
  mono = prepared(tmp_path / "mono", num_channels=1)
  with pytest.raises(UserError, match=r"mono holds audio of 1 channels.*channels=1"):
    settle_data(pretrain_config(mono))
  unlabeled = prepared(tmp_path / "fma", sources=("mixture",))
  with pytest.raises(UserError, match=r"fma holds no stems.*data_prep\.musdb"):
    settle_data(finetune_config(unlabeled))
  both = f"{prepared(tmp_path / 'a', STEMS)},{prepared(tmp_path / 'b', STEMS[::-1])}"
  with pytest.raises(UserError, match="b was prepared for the stems other,vocals"):
    settle_data(finetune_config(both))


@pytest.mark.parametrize(
  ("shards", "weights", "words"),
  [
    ("a,a", [], "different folders"),
    ("a,,b", [], "different folders"),
    ("a,b", [1.0], "1 numbers for 2 folders"),
    ("a,b", [1.0, 0.0], "must be positive"),
  ],
)
def test_several_folders_are_different_and_have_a_weight_each(shards, weights, words):
  values = pretrain_config(shards="x").to_dict()
  values["data"] |= {"shards": shards, "weights": weights}
  with pytest.raises(UserError, match=words):
    Config.from_dict(values)


def lines(run, group):
  found = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
  names = ("step", "loss", "grad_norm", "damaged_records")
  return [[x.get(n) for n in names] for x in found if x["group"] == group]


@pytest.fixture
def damaged_music(music, tmp_path):
  """The tiny data set; a record of training and one of validation are damaged."""
  folder = shutil.copytree(music, tmp_path / "music")
  for split in ("train", "valid"):
    path = folder / f"mixture/{split}-00000-of-00001.arrayrecord"
    data = bytearray(path.read_bytes())
    data[data.index(b"fLaC") + 300] ^= 1
    path.write_bytes(data)
  return folder


def test_a_run_skips_damaged_records_and_goes_on_bit_for_bit(
  damaged_music, tmp_path, caplog
):
  def config(steps):
    return pretrain_config(damaged_music, steps=steps, log_every=1)

  train(config(4), tmp_path / "whole")
  train(config(2), tmp_path / "parts")
  train(config(4), tmp_path / "parts")
  whole, parts = (lines(tmp_path / name, "train") for name in ("whole", "parts"))
  assert whole == parts
  assert [line[0] for line in whole] == [1, 2, 3, 4]
  assert whole[-1][-1] >= 2  # four steps draw 64 segments of six
  assert (
    lines(tmp_path / "whole", "valid")[-1] == lines(tmp_path / "parts", "valid")[-1]
  )
  assert read_meta(tmp_path / "parts", 4)["damaged"] == whole[-1][-1]
  assert "record 0: cannot be read" in caplog.text
  strict = config(4).changed(data={"max_damaged": 0.0})
  with pytest.raises(UserError, match="record 0: cannot be read"):
    train(strict, tmp_path / "strict")


def test_several_folders_are_mixed_and_recorded(music, tmp_path):
  other = write_music(tmp_path / "other")
  config = pretrain_config(f"{music}, {other}", steps=2)
  train(config.changed(data={"weights": (3, 1)}), tmp_path / "run")
  (start,) = read_meta(tmp_path / "run", 2)["starts"]
  assert [part["shards"] for part in start["data"]["sets"]] == [str(music), str(other)]
  (line,) = describe_weights(tmp_path / "run").card["training_data"]
  assert "mixed weighted 3:1" in line
  assert str(other) in line
  again = config.changed(data={"weights": (1, 1)}, run={"steps": 4})
  with pytest.raises(UserError, match=r"data\.weights"):
    train(again, tmp_path / "run")
