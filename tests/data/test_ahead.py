"""One item ahead: order, errors, bounds, and nothing left running."""

import threading

import pytest

from mixit_jax.data.ahead import one_ahead


def left_running():
  return [t for t in threading.enumerate() if t.name.startswith("one_ahead")]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_order(count):
  assert list(one_ahead(lambda i: i * i, range(count))) == [i * i for i in range(count)]
  assert not left_running()


def test_the_next_item_is_computed_while_the_caller_works():
  begun = [threading.Event() for _ in range(3)]

  def read(i):
    begun[i].set()
    return i

  results = one_ahead(read, range(3))
  assert next(results) == 0
  assert begun[1].wait(10)
  assert not begun[2].is_set()  # no more than one waits
  assert list(results) == [1, 2]


def test_results_are_made_while_a_generator_makes_the_next_item():
  written = [threading.Event() for _ in range(3)]
  threads = set()

  def separated():
    for i in range(3):
      threads.add(threading.current_thread())
      if i:
        assert written[i - 1].wait(10)
      yield i

  def write(i):
    threads.add(threading.current_thread())
    written[i].set()
    return i

  assert list(one_ahead(write, separated())) == [0, 1, 2]
  assert len(threads) == 2


def test_an_error_is_raised_at_its_place_and_later_items_are_not_begun():
  begun = []

  def read(i):
    begun.append(i)
    if i == 2:
      raise ValueError("two")
    return i

  results = one_ahead(read, range(9))
  assert [next(results), next(results)] == [0, 1]
  with pytest.raises(ValueError, match="two"):
    next(results)
  assert begun == [0, 1, 2]
  assert not left_running()


def test_an_error_of_the_items_waits_for_what_has_begun():
  finished = threading.Event()
  go = threading.Event()

  def items():
    yield 0
    go.set()
    raise KeyboardInterrupt

  def write(_):
    go.wait(10)
    finished.set()

  with pytest.raises(KeyboardInterrupt):
    list(one_ahead(write, items()))
  assert finished.is_set()
  assert not left_running()


def test_closing_leaves_nothing_running():
  results = one_ahead(lambda i: i, range(100))
  next(results)
  assert left_running()
  results.close()
  assert not left_running()
