from data_prep.progress import Progress, Work


class Job:
  def __init__(self, files, size):
    self.work = Work(files, size)


def test_progress_tells_files_hours_speed_and_time_left():
  progress = Progress("shards", [Job(1000, 10**9), Job(500, 10**9), Job(10, 2 * 10**9)])
  assert progress.line(0.0) == "shards: 0 of 3; 0 of 1,510 files"
  progress.add(Work(1000, 10**9, 7200.0))
  assert progress.line(3600.0) == (
    "shards: 1 of 3; 1,000 of 1,510 files; 2 h of audio, 2 per hour; 3.0 h left"
  )
  progress.add(Work(500, 10**9, 720_000.0))
  assert progress.line(60.0) == (
    "shards: 2 of 3; 1,500 of 1,510 files; 202 h of audio, 12,120 per hour; 60 s left"
  )
  progress.add(Work(10, 2 * 10**9))
  assert progress.line(400_000.0).endswith(
    "of 1,510 files; 202 h of audio, 1.8 per hour"
  )


def test_items_that_state_no_work_are_counted():
  progress = Progress("copies", ["a", "b", "c", "d"])
  progress.add(Work())
  assert progress.line(100 * 3600.0) == "copies: 1 of 4; 12.5 days left"


def test_results_pass_through(capsys):
  progress = Progress("x", "ab")
  assert list(progress.follow(enumerate("ab"))) == [(0, "a"), (1, "b")]
  assert capsys.readouterr().err == ""  # no terminal, and quick
