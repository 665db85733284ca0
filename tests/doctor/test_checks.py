import pytest

from mixit_jax.doctor.checks import Check, run_checks
from mixit_jax.errors import UserError


def failing(error):
  def find():
    raise error

  return find


def test_every_check_gets_a_line_whatever_failed_before():
  checks = [
    Check("a", failing(UserError("no a; buy one"))),
    Check("b", failing(RuntimeError("two\nlines " + 1000 * "x"))),
    Check("c", lambda: "fine"),
  ]
  lines = []
  with pytest.raises(UserError, match="2 of 3 checks failed"):
    run_checks(checks, lines.append)
  assert lines[0] == "FAILED  a: no a; buy one"
  assert lines[1].startswith("FAILED  b: RuntimeError: two lines x")
  assert len(lines[1]) < 500
  assert lines[2] == "ok      c: fine"


def test_nothing_is_raised_where_all_is_well():
  lines = []
  run_checks([Check("a", lambda: "fine")], lines.append)
  assert lines == ["ok      a: fine"]
