import pytest

from data_prep import resources

MACHINE = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:   4000 kB\n"}
GROUP = "sys/fs/cgroup"


@pytest.mark.parametrize(
  ("files", "free"),
  [
    ({}, float("inf")),
    (MACHINE, 4_096_000),
    (
      MACHINE
      | {
        f"{GROUP}/memory.max": "3000000\n",
        f"{GROUP}/memory.current": "2500000\n",
        f"{GROUP}/memory.stat": "anon 5\ninactive_file 500000\n",
      },
      1_000_000,
    ),
    (
      MACHINE
      | {f"{GROUP}/memory.max": "max\n", f"{GROUP}/memory.current": "2500000\n"},
      4_096_000,
    ),
    (
      MACHINE
      | {
        f"{GROUP}/memory/memory.limit_in_bytes": "3000000",
        f"{GROUP}/memory/memory.usage_in_bytes": "3500000",
      },
      0,
    ),
  ],
)
def test_free_memory_is_that_of_machine_and_container(tmp_path, files, free):
  for name, content in files.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
  assert resources.free_memory(tmp_path) == free


@pytest.mark.parametrize(("gigabytes", "expected"), [(0, 1), (1, 1), (2, 3), (99, 8)])
def test_workers_follow_memory_as_well_as_processors(monkeypatch, gigabytes, expected):
  monkeypatch.setattr(resources, "processors", lambda: 8)
  monkeypatch.setattr(resources, "free_memory", lambda: gigabytes * 2**30)
  assert resources.default_workers() == expected
