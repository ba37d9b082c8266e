"""Engine processes that hang, are stopped, eat memory or die: the guilty is found, all others get their results."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from tests.backends.numpy_models import CRASHES, EATS, FLAKY_CRASH, HANGS, write_model
from tests.integration.worker.engines import Engines, job, jobs
from tests.support import eventually

from penstock_schemas.errors import ErrorCode
from penstock_worker.engine.pool import WorkerFailedError
from penstock_worker.engine.wire import Notice
from penstock_worker.intake.delivery import Isolation

HERE = Path(__file__).parent
MIB = 1024 * 1024

Make = Callable[..., Engines]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """``make(model={…}, settings={…}, worker={…})``: an engine that serves. ``model`` describes it for its backend."""
    monkeypatch.setenv("PYTHONPATH", f"{HERE.parents[1] / 'backends'}{os.pathsep}{HERE}")
    made: list[Engines] = []

    def make(*, wait: bool = True, **options: Any) -> Engines:
        made.append(Engines(tmp_path / f"m{len(made)}", **options))
        return made[-1].ready() if wait else made[-1]

    yield make
    for engines in made:
        engines.stop()


def succeeded(engines: Engines) -> set[str]:
    return {key for key, outcome in engines.outcomes.items() if outcome.status == "succeeded"}


def test_of_jobs_in_one_batch_the_one_that_crashes_its_engine_is_blamed_and_the_others_succeed(make: Make) -> None:
    engines = make()
    engines.add(jobs(1, 2, CRASHES, 4, 5))
    engines.settled()
    assert succeeded(engines) == {"j0", "j1", "j3", "j4"}
    assert {engines.outcomes[key].attempts for key in succeeded(engines)} == {1}
    ((key, (error, evidence)),) = engines.blamed.items()
    assert (key, error.code) == ("j2", ErrorCode.ENGINE_CRASH)
    assert error.message == "the engine died while model 'm' version 1 ran this job alone: ended by SIGKILL"
    assert "engine on cpu" in evidence
    assert engines.restarts() == 2


def test_a_job_that_crashes_its_engine_while_it_is_decoded_is_found_among_its_neighbours(make: Make) -> None:
    engines = make(model={"batch_seconds": 0.1}, settings={"max_batch_rows": 2}, worker={"backend": "fatal_to_decode"})
    engines.add(jobs(1, 2, 3, 4, prefix="before"))
    engines.add(jobs(1, 2, prefix="a") | {"fatal": b"FATAL"} | jobs(4, 5, prefix="b"))
    engines.add(jobs(1, prefix="after"))
    engines.settled()
    assert len(succeeded(engines)) == 9
    ((key, (error, _)),) = engines.blamed.items()
    assert (key, error.message) == ("fatal", "the engine died while it decoded this job alone: ended by SIGSEGV")


@pytest.mark.parametrize("word", [b"FATAL", b"FATAL LEAVING"])
def test_what_a_crashed_engine_had_started_ends_with_it(make: Make, word: bytes) -> None:
    engines = make(worker={"backend": "fatal_to_decode"})
    group = engines.engine.pid
    engines.add({"fatal": word})
    engines.settled()
    assert engines.restarts() >= 1
    eventually(lambda: _members(group) == [], "nothing of the engine is left")


def _members(group: int) -> list[int]:
    """Processes of a process group, without those that only wait to be buried."""
    return [process.pid for process in psutil.process_iter() if _group(process) == group]


def _group(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else os.getpgid(process.pid)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return None


def test_a_model_that_hangs_is_killed_after_its_timeout(make: Make) -> None:
    engines = make(settings={"timeout": 0.3})
    engines.add(jobs(1, HANGS, 3))
    engines.settled()
    assert succeeded(engines) == {"j0", "j2"}
    ((key, (error, _)),) = engines.blamed.items()
    assert (key, error.code) == ("j1", ErrorCode.ENGINE_TIMEOUT)
    assert error.message.endswith("killed, as a step took longer than the model's timeout of 0.3 s")


def test_each_call_has_the_whole_timeout(make: Make) -> None:
    """A job of many calls, and a batch that is split, may take longer than the timeout in all."""
    engines = make(model={"batch_seconds": 0.2}, settings={"timeout": 1.0, "max_batch_rows": 1})
    engines.add({"large": job(1, rows=8)})
    engines.settled()
    assert (succeeded(engines), engines.restarts()) == ({"large"}, 0)


def test_an_engine_that_was_stopped_is_killed_too(make: Make) -> None:
    engines = make(model={"batch_seconds": 60}, settings={"timeout": 0.5})
    engines.add(jobs(1))
    engines.until(lambda: engines.engine._running is not None, "the job runs")
    os.kill(engines.engine.pid, signal.SIGSTOP)
    engines.until(lambda: bool(engines.blamed), "the stopped engine is killed")
    assert engines.blamed["j0"][0].code is ErrorCode.ENGINE_TIMEOUT


def test_an_engine_that_was_stopped_while_it_ran_nothing_is_killed_and_its_jobs_are_nobodys_fault(make: Make) -> None:
    engines = make()
    os.kill(engines.engine.pid, signal.SIGSTOP)
    engines.add(jobs(1, 2))

    def killed() -> bool:
        engines.clock.ahead += 0.9  # a jump of more would be the parent's own freeze
        return engines.restarts() == 1

    engines.until(killed, "the silent engine is killed")
    engines.settled()
    assert (succeeded(engines), engines.blamed) == ({"j0", "j1"}, {})


def test_a_parent_that_was_frozen_blames_nobody(make: Make) -> None:
    engines = make(model={"batch_seconds": 0.5}, settings={"timeout": 30})
    engines.add(jobs(1))
    engines.until(lambda: engines.engine._running is not None, "the job runs")
    engines.clock.ahead = 1000
    engines.settled()
    assert (succeeded(engines), engines.restarts()) == ({"j0"}, 0)


def test_an_engine_that_takes_too_much_memory_is_killed(make: Make) -> None:
    engines = make(worker={"engine_memory": 400 * MIB})
    engines.add(jobs(1, EATS, 3))
    engines.settled()
    assert succeeded(engines) == {"j0", "j2"}
    ((key, (error, _)),) = engines.blamed.items()
    assert (key, error.code) == ("j1", ErrorCode.OUT_OF_MEMORY)
    assert error.message.endswith(f"took more than {400 * MIB} bytes of memory (worker.engine_memory)")


def test_what_crashes_the_first_time_only_harms_nobody(make: Make, tmp_path: Path) -> None:
    engines = make(model={"marks": tmp_path})
    engines.add(jobs(1, FLAKY_CRASH, 3))
    engines.settled()
    assert succeeded(engines) == {"j0", "j1", "j2"}
    assert engines.blamed == {}


def test_an_isolated_delivery_has_the_engine_to_itself(make: Make) -> None:
    engines = make(model={"batch_seconds": 0.1}, worker={"delivery_records": 2})
    engines.add(jobs(1, 2, prefix="a"))
    engines.add(jobs(3, CRASHES, 5, prefix="solo"), Isolation.SOLO)
    engines.add(jobs(6, 7, prefix="b"))
    engines.settled()
    assert set(engines.blamed) == {"solo1"}, "it was found without another death"
    assert engines.restarts() == 1
    assert len(succeeded(engines)) == 6


def test_a_batch_for_which_there_is_no_memory_is_split_and_the_next_ones_are_smaller(make: Make) -> None:
    engines = make(model={"most_rows": 5}, settings={"max_batch_rows": 64})
    engines.add(jobs(*range(1, 65), prefix="a"))
    engines.add({"large": job(1, rows=40)})
    engines.settled()
    assert len(succeeded(engines)) == 65
    engines.add(jobs(*range(1, 65), prefix="b"))
    engines.settled()
    rows = {int(outcome["rows"][0]) for key, outcome in engines.outcomes.items() if key[0] == "b"}
    assert max(rows) == 4


def test_jobs_of_a_blocked_model_come_back_unrun(make: Make) -> None:
    engines = make()
    engines.pool.notice = Notice(frozenset({"m", "other"}))
    engines.add(jobs(1, CRASHES))
    engines.settled()
    assert {failure.code for failure in engines.failures.values()} == {"model_unavailable"}
    engines.pool.notice = Notice()
    engines.add(jobs(1, prefix="later"))
    engines.settled()
    assert succeeded(engines) == {"later0"}


@pytest.mark.parametrize("spare", ["imported", "loaded", "none"])
def test_a_spare_takes_over_and_is_replaced(make: Make, spare: str) -> None:
    engines = make(worker={"spare": spare})
    for number in range(2):
        if spare != "none":
            engines.until(lambda: engines.engine.spare.waits, "the spare waits")
        first, waiting = engines.engine.pid, engines.engine.spare.pid
        engines.add(jobs(1, prefix=f"before{number}-"))
        engines.settled()
        os.kill(first, signal.SIGKILL)
        engines.until(lambda: not engines.pool.ready, "the death is noticed")
        engines.ready()
        assert engines.engine.pid != first
        assert (engines.engine.pid == waiting) is (spare != "none")
        engines.add(jobs(1, prefix=f"after{number}-"))
        engines.settled()
    assert len(succeeded(engines)) == 4
    assert engines.metrics.registry.get_sample_value("penstock_engine_takeover_seconds_count") == 2


def test_an_engine_waits_for_a_missing_model_as_long_as_it_takes_until_it_has_had_it(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    engines = make(wait=False, settings={"path": str(folder)}, retry={"model_grace": 30.0})
    for _ in range(2):  # the second engine follows one that died waiting
        engines.until(lambda: engines.engine.waiting is not None, "it waits")
        engines.clock.ahead += 60
        engines.pool.turn(0)
        os.kill(engines.engine.pid, signal.SIGKILL)
        engines.until(lambda: engines.engine.waiting is None, "its death is noticed")
    write_model(folder)
    engines.ready()
    folder.rename(tmp_path / "gone")
    os.kill(engines.engine.pid, signal.SIGKILL)
    engines.until(lambda: engines.engine.waiting is not None, "it waits again")
    engines.clock.ahead += 60
    with pytest.raises(WorkerFailedError, match="others may have it, and get this worker's partitions"):
        engines.pool.turn(0)


def test_a_spare_that_dies_is_replaced(make: Make) -> None:
    engines = make(worker={"spare": "imported"})
    engines.until(lambda: engines.engine.spare.waits, "the spare waits")
    first = engines.engine.spare.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    engines.until(lambda: engines.engine.spare.pid is None, "its death is noticed")
    engines.clock.ahead += 2
    engines.until(lambda: engines.engine.spare.waits and engines.engine.spare.pid != first, "another one waits")
    engines.add(jobs(1))
    engines.settled()
    assert (succeeded(engines), engines.restarts()) == ({"j0"}, 0)


def test_spares_end_with_their_pool(make: Make) -> None:
    engines = make(worker={"spare": "loaded"})
    engines.until(lambda: engines.engine.spare.waits, "the spare waits")
    pids = [engines.engine.pid, engines.engine.spare.pid]
    engines.stop()
    eventually(lambda: not any(psutil.pid_exists(pid or 0) for pid in pids), "both have ended")


_PARENT = """
import sys, time
from pathlib import Path
from tests.integration.worker.engines import Engines

engines = Engines(Path(sys.argv[1]), worker={"spare": "loaded"}).ready()
engines.until(lambda: engines.engine.spare.waits, "the spare waits")
print(engines.engine.pid, engines.engine.spare.pid, flush=True)
time.sleep(600)
"""


def test_an_engine_and_its_spare_do_not_outlive_a_parent_that_is_killed_not_even_stopped_ones(tmp_path: Path) -> None:
    path = os.pathsep.join(map(str, (HERE.parents[1] / "backends", HERE.parents[2])))
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=HERE.parents[2]) as parent:
        try:
            assert parent.stdout is not None
            children = [psutil.Process(int(pid)) for pid in _pids(parent.stdout).split()]
            children[0].suspend()
        finally:
            parent.kill()
    eventually(lambda: not any(child.is_running() for child in children), "both have ended")


def test_an_engine_that_finds_its_parent_gone_ends_without_a_word(make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    engines = make(model={"batch_seconds": 0.5})
    engines.add(jobs(1))
    engines.until(lambda: engines.engine._running is not None, "the job runs")
    with socket.socket(fileno=os.dup(engines.engine.pipe.fileno())) as ours:
        ours.shutdown(socket.SHUT_RD)  # it cannot say any more what came of the job
    eventually(engines.engine._child.has_ended, "it has ended")
    assert engines.engine._child.wait(0) == 0
    assert "Traceback" not in capfd.readouterr().err


def _pids(lines: IO[str]) -> str:
    """The first line that holds nothing but numbers: the rest is the log."""
    return next(line for line in lines if line.replace(" ", "").strip().isdigit())


def test_an_engine_is_first_in_line_when_the_systems_memory_is_short(make: Make) -> None:
    engines = make()
    assert Path(f"/proc/{engines.engine.pid}/oom_score_adj").read_text().strip() == "1000"


def test_an_engine_that_does_not_come_up_ends_the_worker(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    engines = make(wait=False)
    with pytest.raises(WorkerFailedError, match=r"did not stay up for 5 starts in a row \(the last one: exit status 1\)"):
        engines.ready()
