"""JobQueue: which one runs, which waits, and how they end, whatever happens to the process that does the work."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.scripted_worker import ScriptedWorker

from ml_backend.errors import Conflict, InvalidRequest, NotFound
from ml_backend.jobs.queue import CANCELLED, STOPPED, SUPERSEDED, JobQueue
from ml_backend.jobs.records import KEPT, SERVER_ENDED, Job, JobRecords, ServerLiveness
from ml_backend.jobs.worker import TrainingResult, TrainingTask, UnexpectedFailure, WorkerDied
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.training.request import TrainingRequest

REQUEST = TrainingRequest(("a", "b"), (b"1" * 16, b"2" * 16), (0, 1), 2, 0, 1.0)


class Bench:
    """The jobs of one server, whose work is scripted."""

    def __init__(self, directory: Path) -> None:
        self.work = ScriptedWorker()
        self.liveness = ServerLiveness(directory / "servers")
        self.ended: list[tuple[str, str | None]] = []
        self.records = JobRecords(directory / "projects", "jobs", self.liveness)
        self.jobs = JobQueue(
            self.work, self.records, lambda task, result: self.ended.append((task.project, result.version))
        )

    def start(self, project: str, *, unless: bool = False) -> str:
        return self.jobs.start(TrainingTask(project, REQUEST), unless=lambda waiting: unless).job

    def until(self, project: str, job: str, state: str) -> Job:
        deadline = time.monotonic() + 10
        while (found := self.jobs.get(project, job)).state != state:
            assert time.monotonic() < deadline, found
            time.sleep(0.005)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.jobs.close(5)


def test_a_job_waits_runs_tells_how_far_it_is_and_is_done(bench: Bench) -> None:
    job = bench.start("7")
    assert bench.work.begun.get(timeout=10).project == "7"
    running = bench.until("7", job, "running")
    assert (running.stage, running.progress, running.model_version) == ("starting", 0.0, None)
    bench.work.orders.put(ProgressUpdate("training", 1, 30, 100, 0.4, 12.5))
    while (running := bench.jobs.get("7", job)).stage != "training":
        time.sleep(0.005)
    assert (running.fold, running.step, running.steps, running.seconds_left) == (1, 30, 100, 12.5)
    bench.work.orders.put(TrainingResult("v1"))
    done = bench.until("7", job, "done")
    assert (done.model_version, done.progress, done.seconds_left, done.error) == ("v1", 1.0, 0.0, None)
    assert bench.ended == [("7", "v1")]
    assert not bench.jobs.is_active("7")
    assert bench.jobs.counts() == {("7", "done"): 1}


def test_projects_take_turns_and_a_newer_request_takes_the_place_of_one_that_waits(bench: Bench) -> None:
    first = bench.start("7")
    bench.until("7", first, "running")
    other, second = bench.start("8"), bench.start("7")
    assert bench.jobs.get("7", second).state == "queued"
    third = bench.start("7")
    superseded = bench.jobs.get("7", second)
    assert (superseded.state, superseded.error, superseded.retriable) == ("cancelled", SUPERSEDED, True)
    assert bench.start("7", unless=True) == third
    assert bench.jobs.counts() == {("7", "running"): 1, ("7", "queued"): 1, ("8", "queued"): 1, ("7", "cancelled"): 1}
    for _ in range(3):
        bench.work.begun.get(timeout=10)
        bench.work.orders.put(TrainingResult("v"))
    for project, job in (("7", first), ("8", other), ("7", third)):
        bench.until(project, job, "done")
    assert [project for project, _ in bench.ended] == ["7", "8", "7"]


def test_one_that_runs_or_waits_can_be_cancelled_and_one_that_has_ended_stays(bench: Bench) -> None:
    running, waiting = bench.start("7"), bench.start("8")
    bench.until("7", running, "running")
    cancelled = bench.jobs.cancel("8", waiting)
    assert (cancelled.state, cancelled.error, cancelled.retriable) == ("cancelled", CANCELLED, True)
    cancelled = bench.jobs.cancel("7", running)
    assert (cancelled.state, cancelled.error, cancelled.retriable) == ("cancelled", CANCELLED, True)
    assert bench.jobs.cancel("7", running) == cancelled
    bench.work.begun.queue.clear()
    after = bench.start("7")
    bench.work.orders.put(TrainingResult("v"))
    assert bench.until("7", after, "done").model_version == "v"
    with pytest.raises(NotFound, match="no such job"):
        bench.jobs.cancel("7", "other")
    with pytest.raises(NotFound, match="no such job"):
        bench.jobs.get("8", after)  # of another project


@pytest.mark.parametrize(
    ("end", "error", "retriable"),
    [
        (InvalidRequest("Add labels."), "Add labels.", False),
        (WorkerDied("It was killed."), "It was killed.", True),
        (
            UnexpectedFailure("OSError", "at /secret/path"),
            "Training failed unexpectedly (OSError). The server's log",
            False,
        ),
        (
            ZeroDivisionError("/secret/path"),
            "Training failed unexpectedly (ZeroDivisionError). The server's log",
            False,
        ),
    ],
)
def test_a_failure_is_one_sentence_and_the_next_job_runs(
    bench: Bench, end: Exception, error: str, retriable: bool
) -> None:
    job = bench.start("7")
    bench.work.orders.put(end)
    failed = bench.until("7", job, "failed")
    assert failed.error is not None
    assert failed.error.startswith(error)
    assert "secret" not in failed.error
    assert failed.retriable == retriable
    after = bench.start("7")
    bench.work.orders.put(TrainingResult("v"))
    bench.until("7", after, "done")


def test_what_is_cancelled_before_its_process_is_there_ends_at_its_first_word(bench: Bench) -> None:
    held = threading.Event()
    run = bench.work.run

    def slow(task: TrainingTask, report: Callable[[ProgressUpdate], None]) -> TrainingResult:
        assert held.wait(10)
        return run(task, report)

    bench.work.run = slow  # type: ignore[method-assign]
    job = bench.start("7")
    bench.until("7", job, "running")
    with ThreadPoolExecutor(1) as thread:
        cancelling = thread.submit(bench.jobs.cancel, "7", job)
        time.sleep(0.05)
        held.set()
        bench.work.orders.put(ProgressUpdate("training", None, 0, 1, 0.1, None))
        assert cancelling.result(timeout=10).state == "cancelled"


def test_a_disk_that_fails_loses_no_job_and_stops_none(tmp_path: Path, bench: Bench) -> None:
    (tmp_path / "projects").write_text("no folder")
    jobs = []
    for _ in range(2):
        jobs.append(bench.start("7"))
        bench.work.begun.get(timeout=10)
        bench.work.orders.put(ProgressUpdate("training", None, 0, 1, 0.1, None))
        bench.work.orders.put(TrainingResult("v"))
        bench.until("7", jobs[-1], "done")
    assert [bench.jobs.get("7", job).model_version for job in jobs] == ["v", "v"]


def test_a_job_of_another_server_cannot_be_cancelled_here(tmp_path: Path, bench: Bench) -> None:
    other = Bench(tmp_path)
    job = other.start("7")
    other.until("7", job, "running")
    with pytest.raises(Conflict, match="Another server"):
        bench.jobs.cancel("7", job)
    assert other.jobs.cancel("7", job).state == "cancelled"
    assert bench.jobs.cancel("7", job).state == "cancelled"
    other.jobs.close(5)


def test_a_server_that_stops_fails_its_jobs_and_the_next_one_tells_so(tmp_path: Path, bench: Bench) -> None:
    running, waiting = bench.start("7"), bench.start("8")
    bench.until("7", running, "running")
    bench.jobs.close(5)
    after = Bench(tmp_path)
    for project, job in (("7", running), ("8", waiting)):
        found = after.jobs.get(project, job)
        assert (found.state, found.error, found.retriable) == ("failed", STOPPED, True)
    after.jobs.close(5)


def test_jobs_of_a_server_that_died_are_marked_as_failed_and_those_of_one_that_lives_are_not(tmp_path: Path) -> None:
    dead, living = ServerLiveness(tmp_path / "servers"), ServerLiveness(tmp_path / "servers")
    for liveness, project in ((dead, "7"), (dead, "7/questions/topic"), (living, "8")):
        JobRecords(tmp_path / "projects", "jobs", liveness).write(
            project, Job("one", "running", "training", progress=0.5)
        )
    dead._lock.release()  # as the system does at its death
    reader = JobRecords(tmp_path / "projects", "jobs", ServerLiveness(tmp_path / "servers"))
    for folder in ("7/jobs", "7/questions/topic/jobs"):
        written = json.loads((tmp_path / "projects" / folder / "one.json").read_text())
        assert (written["state"], written["error"]) == ("failed", SERVER_ENDED)
    found = reader.read("7", "one")
    assert found is not None
    assert (found.state, found.retriable, found.stage) == ("failed", True, "training")
    other = reader.read("8", "one")
    assert other is not None
    assert (other.state, other.progress) == ("running", 0.5)
    assert [path.name for path in (tmp_path / "servers").iterdir() if dead.name in path.name] == []
    another = ServerLiveness(tmp_path / "servers")
    another._lock.release()
    ServerLiveness(tmp_path / "servers")  # removes what nobody asked for
    assert not (tmp_path / "servers" / f"{another.name}.lock").exists()


def test_the_last_records_of_a_project_are_kept_and_damaged_ones_are_as_none(tmp_path: Path) -> None:
    records = JobRecords(tmp_path, "jobs", ServerLiveness(tmp_path / "servers"))
    for number in range(KEPT + 5):
        records.write("7", Job(f"job-{number:02}", "done"))
    assert records.read("7", "job-04") is None
    assert records.read("7", "job-05") is not None
    (tmp_path / "7/jobs/job-05.json").write_text("{")
    (tmp_path / "7/jobs/job-06.json").write_text('{"job": "job-06", "server": "x"}')
    for name in ("job-05", "job-06", "../jobs/job-07", "", "job-99"):
        assert records.read("7", name) is None
    records.write("7", Job("job-98", "running"))
    records.write("7", Job("job-98", "running", progress=0.5), progress=True)  # within a second of the one before
    assert json.loads((tmp_path / "7/jobs/job-98.json").read_text())["progress"] == 0.0


def test_progress_goes_by_what_the_stages_cost() -> None:
    told: list[ProgressUpdate] = []
    progress = Progress(told.append)
    progress.plan({"one": 1.0, "two": 3.0})
    progress.report("one", 1, 2)
    progress.report("two", 0, 0)
    progress.report("two", 1, 3, fold=2)
    assert [update.progress for update in told] == [0.125, 1.0, 0.5]
    assert (told[2].stage, told[2].fold, told[2].step, told[2].steps) == ("two", 2, 1, 3)
    assert told[2].seconds_left == pytest.approx(0, abs=0.1)


def test_the_thread_of_closed_jobs_ends(tmp_path: Path) -> None:
    before = threading.active_count()
    bench = Bench(tmp_path)
    assert threading.active_count() == before + 1
    bench.jobs.close(5)
    assert threading.active_count() == before
