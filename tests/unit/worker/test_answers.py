"""What came of jobs as outcome records: one a job, in step with their indices, letters for those that failed."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.worker.making import FakeModel, a_block, a_model, a_version, firsts, whole

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import Request, RequestedOutput
from penstock_schemas.outcomes import Outcome, decode_outcome
from penstock_worker.engine.answers import Answers, Refusal, refused, stats
from penstock_worker.engine.assembly import Piece
from penstock_worker.engine.block import Block
from penstock_worker.engine.child import _cut
from penstock_worker.engine.runner import Ran, run
from penstock_worker.engine.signature import Port, Signature
from penstock_worker.engine.wire import Answer, Failure, answers_size


def decoded(answer: Answer) -> dict[int, Outcome]:
    indices = np.frombuffer(answer.indices, np.int32).tolist()
    assert len(set(indices)) == len(indices) == len(answer.values)
    return dict(zip(indices, map(decode_outcome, answer.values), strict=True))


def answered(block: Block, limit: int = 10**6, begin: int = 0, end: int | None = None) -> Answer:
    (ran,) = run([Piece(block, begin, block.jobs if end is None else end)])
    return Answers(limit).succeeded(ran, 250, block.ready_at + 0.002)[0]


def test_an_outcome_says_where_its_job_came_from_and_how_long_each_step_took() -> None:
    block = a_block(
        a_version(a_model(), version="3"), firsts([1, 2, 3]), first=40, reply_to="me", attempt=2, binary_output=True
    )
    answer = answered(block, begin=1)
    assert (answer.sequence, answer.keys, answer.failures) == (1, None, {})
    outcomes = decoded(answer)
    assert sorted(outcomes) == [41, 42]
    outcome = outcomes[42]
    assert (outcome.id, outcome.status, outcome.attempts, outcome.reply_to) == ("j42", "succeeded", 2, "me")
    assert (outcome.model_name, outcome.model_version, outcome.origin) == ("m", "3", "f.jobs-0-42")
    assert outcome["y"].tolist() == [[6.0] * 4]
    timings = outcome.timings
    assert timings is not None
    assert (timings.queue_us, timings.decode_us, timings.infer_us, timings.batch_rows) == (5, 7, 250, 2)
    assert abs(timings.batch_wait_us - 2000) <= 1


def test_ids_that_are_not_their_records_keys_travel_as_keys() -> None:
    block = a_block(a_version(a_model()), firsts([1, 2]))
    object.__setattr__(block, "keys_are_ids", False)
    assert answered(block, begin=1).keys == [b"j1"]


def test_failed_jobs_stand_beside_their_neighbours() -> None:
    block = a_block(a_version(a_model()), firsts([1, 2, 3]), first=10, timeout_us=4_000_000)
    (ran,) = run(whole(block))
    ran.failed[1] = JobError(ErrorCode.MODEL_ERROR, "it said no"), "Traceback"
    answer, wait_us = Answers(10**6).succeeded(ran, 1, 0.0)
    outcomes = decoded(answer)
    assert {index: outcome.status for index, outcome in outcomes.items()} == {10: "succeeded", 11: "failed", 12: "succeeded"}
    assert [outcomes[index]["y"][0, 0] for index in (10, 12)] == [2, 6]
    assert (outcomes[11].error, outcomes[11].origin) == ("it said no", "f.jobs-0-11")
    assert answer.failures == {11: Failure("model_error", "it said no", "Traceback", "m", "1", 3, 4_000_000)}
    assert len(wait_us) == 3


def test_a_job_that_failed_alone_needs_no_outputs() -> None:
    block = a_block(a_version(a_model()), firsts([1]))
    ran = Ran(Piece(block, 0, 1), {}, 1, {0: (JobError(ErrorCode.OUT_OF_MEMORY, "no room"), "")})
    assert decoded(Answers(10**6).succeeded(ran, 1, 0.0)[0])[0].error_code == "out_of_memory"


def test_an_outcome_over_the_limit_fails_with_size_and_limit_and_its_neighbours_do_not() -> None:
    signature = Signature({"x": Port("FP32", (-1, 4))}, {"s": Port("BYTES", (-1,))})

    def sized(inputs: Any) -> Any:
        out = np.empty(len(inputs["x"]), object)
        out[:] = [b"x" * int(row[0]) for row in inputs["x"]]
        return {"s": out}

    block = a_block(a_version(FakeModel({"serving_default": signature}, sized)), firsts([10, 5000, 20]))
    answer = answered(block, limit=4096)
    outcomes = decoded(answer)
    assert {index: outcome.error_code for index, outcome in outcomes.items()} == {0: None, 1: "outcome_too_large", 2: None}
    error = outcomes[1].error or ""
    size = 5000 + len(answer.values[0]) - 10
    assert str(size) in error
    assert "4096" in error
    assert answer.failures[1].code == "outcome_too_large"
    assert all(len(value) <= 4096 for value in answer.values)


def test_only_the_outputs_that_were_asked_for_are_written() -> None:
    signature = Signature({"x": Port("FP32", (-1, 4))}, {"y": Port("FP32", (-1,)), "z": Port("FP32", (-1,))})
    model = FakeModel({"serving_default": signature}, lambda inputs: {"y": inputs["x"][:, 0], "z": inputs["x"][:, 1]})
    block = a_block(a_version(model), firsts([1, 2]), outputs=(RequestedOutput("z"),))
    assert [list(outcome.outputs) for outcome in decoded(answered(block)).values()] == [["z"], ["z"]]


def test_an_output_that_cannot_be_written_fails_its_job_and_not_the_engine() -> None:
    model = a_model(lambda inputs: {"y": inputs["x"].astype(np.complex64)})
    outcome = decoded(answered(a_block(a_version(model), firsts([1]))))[0]
    assert outcome.error_code == "model_error"
    assert "complex64" in (outcome.error or "")


def test_refusals_carry_what_is_known_of_their_job() -> None:
    error = JobError(ErrorCode.INVALID_JOB, "no")
    request = Request(model_name="m", model_version="2", reply_to="me", generation=3)
    answer = refused(9, [Refusal(4, b"a", "t-0-1", error, None), Refusal(6, b"b", "t-0-2", error, request, "expired")])
    outcomes = decoded(answer)
    assert (answer.sequence, answer.keys, list(answer.failures)) == (9, [b"a", b"b"], [4])
    assert (outcomes[4].model_name, outcomes[4].generation, outcomes[4].status) == (None, 0, "failed")
    known = outcomes[6]
    assert (known.model_name, known.model_version, known.reply_to, known.generation) == ("m", "2", "me", 3)
    assert known.status == "expired"


def test_a_refusal_says_which_model_it_was_and_which_timeout_the_job_has() -> None:
    error = JobError(ErrorCode.NON_FINITE_INPUT, "no")
    request = Request(timeout_us=7)
    version = a_version(a_model(), version="3")
    answer = refused(9, [Refusal(0, b"a", "t-0-1", error, request, version=version), Refusal(1, b"b", "t-0-2", error, None)])
    assert answer.failures[0] == Failure("non_finite_input", "no", "", "m", "3", 0, 7)
    assert answer.failures[1] == Failure("non_finite_input", "no")
    assert decoded(answer)[0].model_version == "3"


def test_a_batch_in_figures() -> None:
    version = a_version(a_model())
    pieces = whole(a_block(version, firsts([1, 2])), a_block(version, firsts([3], rows=3), first=2))
    figures = stats(run(pieces), 11, 12, [np.array([1, 2]), np.array([3])])
    assert (figures.model, figures.version, figures.rows, figures.infer_us, figures.encode_us) == ("m", "1", 5, 11, 12)
    assert np.frombuffer(figures.queue_us, np.int64).tolist() == [5, 5, 5]
    assert np.frombuffer(figures.wait_us, np.int64).tolist() == [1, 2, 3]


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=20),
    failed=st.sets(st.integers(0, 19)),
    keyed=st.booleans(),
    limit=st.integers(400, 3000),
)
def test_an_answer_is_cut_into_parts_that_fit_and_hold_everything_once(
    sizes: list[int],
    failed: set[int],
    keyed: bool,
    limit: int,
) -> None:
    indices = np.arange(len(sizes), dtype=np.int32)[::-1].copy()
    failures = {index: Failure("c", "m" * index, "") for index in failed if index < len(sizes)}
    keys = [b"k%d" % index for index in indices] if keyed else None
    answer = Answer(5, indices.tobytes(), keys, [b"%d" % i + b"x" * size for i, size in enumerate(sizes)], failures)
    parts = _cut(answer, limit)
    assert b"".join(part.indices for part in parts) == answer.indices
    assert [value for part in parts for value in part.values] == answer.values
    assert keys is None or [key for part in parts for key in part.keys or []] == keys
    assert {k: v for part in parts for k, v in part.failures.items()} == failures
    assert sum(len(part.failures) for part in parts) == len(failures)
    assert all(answers_size(part) <= limit or len(part.values) == 1 for part in parts)
