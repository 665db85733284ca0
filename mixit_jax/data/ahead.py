"""Work beside the caller's: reading the next item, writing the one before."""

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def one_ahead(
  function: Callable[[Item], Result], items: Iterable[Item]
) -> Generator[Result, None, None]:
  """Yields `function(item)` for each item, in order, computed in another thread.

  Over a list of files it reads ahead: the next result is made while the caller works
  on this one. Over a generator that does the caller's work it follows behind: a result
  is made while the generator makes the next item. Either way no more than one result
  waits.

  What the function raises is raised at its place in the order, and ends everything;
  later items are not begun. When the generator ends or is closed, what has begun is
  finished first: nothing is left running, and no file half written.

  Args:
    function: is called in one thread, with one item at a time.
    items: are asked for in the caller's thread, one more than was yielded.

  Yields:
    The results.
  """
  with ThreadPoolExecutor(1, "one_ahead") as thread:
    running: list[Future[Result]] = []
    for item in items:
      done = [future.result() for future in running]
      running = [thread.submit(function, item)]
      yield from done
      del done
    yield from (future.result() for future in running)
