"""Work in the background: reading the next item, writing the previous one."""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_END = object()


def one_ahead(
  function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
  """Yield `function(item)` for each item, in order, computed in another thread.

  Over a list of files it reads ahead: the next result is made while the caller works
  on this one. Over a generator that does the caller's work it follows behind: a result
  is made while the generator makes the next item. Either way, at most one result waits.

  An error of the function is raised at its place in the order and ends the generator;
  later items are not started. When the generator ends or is closed, work in progress
  is finished first: nothing is left running, and no file is left half written.

  Args:
    function: called in one thread, with one item at a time.
    items: drawn in the caller's thread, one more than was yielded.

  Yields:
    the results.
  """
  with ThreadPoolExecutor(1, "one_ahead") as thread:
    running: list[Future[Result]] = []
    for item in items:
      done = [future.result() for future in running]
      running = [thread.submit(function, item)]
      yield from done
      del done
    yield from (future.result() for future in running)


def ahead(blocks: Iterator[Item]) -> Generator[Item, None, None]:
  """Yield the blocks of a stream; the next one is made in another thread meanwhile."""
  with closing(one_ahead(lambda _: next(blocks, _END), itertools.count())) as made:
    for block in made:
      if block is _END:
        return
      yield block  # type: ignore[misc]  # not the end
