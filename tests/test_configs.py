"""The files in configs/: each builds, and its header says what it costs."""

import re
import shutil
import sys
from pathlib import Path

import jax
import pytest

import configs.demo
import configs.finetune
import configs.pretrain
import configs.table1
import configs.table2
import configs.table3
from mixit_jax.checked import differences
from mixit_jax.devices.mesh import make_mesh
from mixit_jax.errors import UserError
from mixit_jax.main import main
from mixit_jax.separator import separate
from mixit_jax.separator.costs import step_flops
from mixit_jax.training.config import Config
from mixit_jax.training.initialize import state_layout

REPOSITORY = Path(__file__).parent.parent
SIZES = ("small", "medium", "large")
TABLES = (configs.table1, configs.table2, configs.table3)

# ml_collections loads files in an old way.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# What the headers assume: share of the speed of bfloat16 matrix products on an H200.
UTILIZATION, PRODUCTS_PER_SECOND = 0.45, 790e12


def build(module, argument):
  return Config.from_dict(module.get_config(argument).to_dict())


@pytest.mark.parametrize(
  ("module", "argument"),
  [
    *((configs.pretrain, size) for size in SIZES),
    *((configs.finetune, size) for size in SIZES),
    *((configs.demo, stage) for stage in configs.demo.PEAK_RATES),
  ],
)
def test_every_configuration_gives_a_model_that_separates(module, argument):
  config = build(module, argument)
  layout = state_layout(config, make_mesh(config.mesh.fsdp))
  model = config.model.settled("cpu")
  mixture = jax.ShapeDtypeStruct(
    (1, model.num_channels, config.example_samples), "float32"
  )
  estimates = jax.eval_shape(lambda p, x: separate(model, p, x), layout.params, mixture)
  assert estimates.shape == (1, model.num_sources, *mixture.shape[1:])


@pytest.mark.parametrize(
  "module", [configs.pretrain, configs.finetune, configs.demo, *TABLES]
)
@pytest.mark.parametrize("argument", ["tiny", ""])
def test_an_unknown_row_is_an_error_that_lists_the_known_ones(module, argument):
  with pytest.raises(UserError, match=f'"{argument}"|{argument!r}'):
    module.get_config(argument)


MUSDB = {"data.shards": ("", "data/musdb")}
FROZEN = {"init.freeze": ("none", "blocks"), "run.steps": (99_000, 22_000)}


def start(name):
  return {"init.run": ("", f"runs/pretrain-{name}")}


@pytest.mark.parametrize(
  ("module", "row", "size", "changes"),
  [
    (configs.table1, "S1", "small", {}),
    (configs.table1, "S2", "small", start("small")),
    (configs.table1, "M1", "medium", {}),
    (configs.table1, "M2", "medium", start("medium")),
    (configs.table1, "L1", "large", {}),
    (configs.table1, "L2", "large", start("large")),
    (configs.table2, "small", "small", FROZEN),
    (configs.table2, "small-pretrained", "small", FROZEN | start("small")),
    (configs.table2, "medium", "medium", FROZEN),
    (configs.table2, "medium-pretrained", "medium", FROZEN | start("medium")),
    (configs.table2, "large", "large", FROZEN),
    (configs.table2, "large-pretrained", "large", FROZEN | start("large")),
    (configs.table3, "none", "medium", {}),
    (configs.table3, "small", "medium", start("medium-small")),
    (configs.table3, "medium", "medium", start("medium-medium")),
    (configs.table3, "large", "medium", start("medium")),
    (configs.table3, "full", "medium", start("medium-full")),
  ],
)
def test_a_row_is_fine_tuning_but_for_what_its_table_changes(
  module, row, size, changes
):
  plain, config = build(configs.finetune, size), build(module, row)
  assert differences(plain.to_dict(), config.to_dict()) == MUSDB | changes


def header_rows(module):
  """Rows of the table in a header: name, hours on 1 and 8 devices, scores."""
  pattern = r"^  (\S+) .*?(\d+\.\d) +(\d+\.\d)(?: +(\d+\.\d\d / \d+\.\d\d))?$"
  return re.findall(pattern, module.__doc__, re.MULTILINE)


@pytest.mark.parametrize(
  ("module", "rows"),
  [(configs.pretrain, SIZES), *((table, tuple(table.ROWS)) for table in TABLES)],
)
def test_hours_in_the_headers_follow_from_the_operations(module, rows):
  found = header_rows(module)
  assert tuple(row for row, *_ in found) == rows
  for row, one, eight, _ in found:
    config = build(module, row)
    flops = step_flops(
      config.model, config.example_samples, config.run.batch, config.frozen
    )
    hours = flops * config.run.steps / (UTILIZATION * PRODUCTS_PER_SECOND) / 3600
    assert (one, eight) == (f"{hours:.1f}", f"{hours / 8:.1f}"), row


@pytest.mark.parametrize(
  ("module", "title"),
  [
    (configs.pretrain, "## 2. Pre-training"),
    *((table, f"### Table {number}") for number, table in enumerate(TABLES, 1)),
  ],
)
def test_the_recipe_repeats_the_headers(module, title):
  text = (REPOSITORY / "docs" / "recipe.md").read_text()
  section = re.split(r"^##+ ", text.split(title)[1], flags=re.MULTILINE)[0]
  lines = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in section.splitlines()
    if re.match(r"\| \S+ \|.*\d", line)
  ]
  shown = [(line[0], *[cell for cell in line[1:] if "." in cell]) for line in lines]
  header = [tuple(cell for cell in row if cell) for row in header_rows(module)]
  assert [row for row in shown if len(row) > 1] == header


def test_a_configuration_finds_its_neighbors_from_any_folder(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  file = REPOSITORY / "configs" / "table2.py"
  arguments = [f"--config={file}:medium", "--workdir=run", "--config.run.batch=0"]
  assert main(["main", *arguments]) == 1
  assert "run.batch must be positive" in capsys.readouterr().err


def test_a_configuration_away_from_its_neighbors_says_what_to_do(
  tmp_path, monkeypatch, capsys
):
  for name in [n for n in sys.modules if n.startswith("configs")]:
    monkeypatch.delitem(sys.modules, name)
  monkeypatch.setattr("sys.path", [p for p in sys.path if p != str(REPOSITORY)])
  monkeypatch.chdir(tmp_path)
  shutil.copy(REPOSITORY / "configs" / "table1.py", tmp_path / "mine.py")
  assert main(["main", "--config=mine.py:M1", "--workdir=run"]) == 1
  error = capsys.readouterr().err
  assert "configs" in error
  assert "PYTHONPATH" in error


def test_a_configuration_deep_in_a_folder_imports_from_the_current_one(
  tmp_path, monkeypatch, capsys
):
  for name in [n for n in sys.modules if n.startswith("configs")]:
    monkeypatch.delitem(sys.modules, name)
  # As of an installed command: the current folder is no place of modules.
  monkeypatch.setattr(
    "sys.path", [p for p in sys.path if p not in ("", str(REPOSITORY))]
  )
  shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
  mine = tmp_path / "my" / "own" / "run.py"
  mine.parent.mkdir(parents=True)
  shutil.copy(REPOSITORY / "configs" / "table1.py", mine)
  monkeypatch.chdir(tmp_path)
  before = list(sys.path)
  arguments = ["--config=my/own/run.py:M1", "--workdir=run", "--config.run.batch=0"]
  assert main(["main", *arguments]) == 1
  assert "run.batch must be positive" in capsys.readouterr().err
  assert sys.path == before
