"""The in-memory fleet of callers' tests behaves as a fleet does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from penstock import JobFailed, ResultTimeout
from penstock.testing import Fail, FakeFleet
from penstock_schemas.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable


def test_tests_can_look_at_what_the_fleet_was_sent(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", lambda inputs: inputs)
    with fake_fleet.client() as client:
        client.submit("m", {"x": np.ones((2, 3), np.float32)}, id="a1", timeout=1)
        client.submit("nobody", {"x": [1]}, id="a2")
    first, second = fake_fleet.jobs
    assert (first.id, first.model, first.topic, first.timeout) == ("a1", "m", "penstock.jobs", 1.0)
    assert first.inputs["x"].shape == (2, 3)
    assert second.model == "nobody"


def test_the_first_outcome_of_an_id_stands(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", lambda inputs: {"y": inputs["x"]})
    with fake_fleet.client() as client:
        client.submit("m", {"x": [1.0]}, id="a")
        again = client.submit("m", {"x": [2.0]}, id="a")
        assert again.result(10)["y"][0] == 1.0
        fake_fleet.forget_results()
        assert client.poll("a") is None


def test_the_latest_version_answers_unless_another_is_named(fake_fleet: FakeFleet) -> None:
    def answering(version: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
        return lambda _inputs: {"v": [version]}

    for version in (2, 10, 9):
        fake_fleet.serve("m", answering(version), version=version)
    with fake_fleet.client() as client:
        assert client.submit("m", {"x": [1]}).result(10).model_version == "10"
        assert client.submit(None, {"x": [1]}, version=9).result(10)["v"][0] == 9


@pytest.mark.parametrize(
    ("function", "code", "says"),
    [
        (lambda _inputs: 1 / 0, ErrorCode.MODEL_ERROR, "ZeroDivisionError: division by zero"),
        (lambda _inputs: np.ones(3), ErrorCode.MODEL_ERROR, "answered ndarray; it must answer a mapping"),
        (lambda _inputs: {"y": np.ones(1, complex)}, ErrorCode.MODEL_ERROR, "'y' has dtype complex128"),
        (lambda _inputs: {"y": [np.inf]}, ErrorCode.NON_FINITE_OUTPUT, "'y' holds NaN or infinity"),
    ],
)
def test_what_is_wrong_with_a_function_fails_its_jobs(
    fake_fleet: FakeFleet, function: Callable[[Any], Any], code: ErrorCode, says: str
) -> None:
    fake_fleet.serve("m", function)
    with fake_fleet.client() as client, pytest.raises(JobFailed) as caught:
        client.submit("m", {"x": [1.0]}).result(10)
    assert caught.value.code == code
    assert says in caught.value.message


def test_a_function_may_say_why_a_job_fails(fake_fleet: FakeFleet) -> None:
    def full(_inputs: dict[str, Any]) -> dict[str, Any]:
        raise Fail("the device is full", ErrorCode.OUT_OF_MEMORY)

    fake_fleet.serve("m", full)
    with fake_fleet.client() as client, pytest.raises(JobFailed, match=r"the device is full \[out_of_memory\]"):
        client.submit("m", {"x": [1.0]}).result(10)


def test_non_finite_values_pass_where_the_model_allows_them(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", lambda inputs: inputs, allow_non_finite=True)
    with fake_fleet.client() as client:
        assert np.isnan(client.submit("m", {"x": [np.nan]}).result(10)["x"][0])


def test_text_goes_both_ways(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", lambda inputs: {"upper": [text.decode().upper() for text in inputs["x"]]})
    with fake_fleet.client() as client:
        assert client.submit("m", {"x": ["zürich"]}).result(10)["upper"][0] == "ZÜRICH".encode()
        assert client.submit("m", {"x": ["a"]}, encoding="json").result(10)["upper"][0] == b"A"


def test_clients_of_one_fleet_see_each_other_s_results() -> None:
    with FakeFleet({"m": lambda inputs: inputs}, fleet="other") as fleet:
        first, second = fleet.client(), fleet.client()
        job = first.submit("m", {"x": [1.0]})
        first.close()
        assert second.result(job.id, timeout=10)["x"][0] == 1.0
        assert fleet.jobs[0].topic == "other.jobs"


def test_a_paused_fleet_works_off_what_waited(fake_fleet: FakeFleet) -> None:
    fake_fleet.serve("m", lambda inputs: inputs)
    with fake_fleet.client() as client:
        with fake_fleet.paused():
            jobs = [client.submit("m", {"x": [float(number)]}) for number in range(3)]
            with pytest.raises(ResultTimeout):
                jobs[0].result(0.01)
            assert not fake_fleet.jobs
        assert [job.result(10)["x"][0] for job in jobs] == [0.0, 1.0, 2.0]
