"""Which model, version and signature a job means, and which versions of a model there are to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.making import DOUBLE, FakeModel, a_model, a_request, a_version, double

from penstock_schemas.errors import ErrorCode, JobError
from penstock_schemas.jobs import Request
from penstock_schemas.settings import ModelSettings
from penstock_worker.engine.backend import ModelUnreadableError
from penstock_worker.engine.catalog import Catalog, Route, find_versions, load_version
from penstock_worker.engine.signature import Port, Signature

FLAT = Signature({"x": Port("FP32", (4,))}, {"y": Port("FP32", (4,))})


@pytest.fixture
def catalog() -> Catalog:
    both = FakeModel({"serving_default": DOUBLE, "flat": FLAT}, double)
    return Catalog(
        {
            "m": {"9": a_version(both, version="9"), "10": a_version(both, version="10")},
            "n": {"1": a_version(both, name="n", signature="flat", max_batch_rows=5, max_delay=0.5)},
        }
    )


def asked(**more: Any) -> Request:
    return a_request(DOUBLE, {"x": (2, 4)}, **more)


def route(catalog: Catalog, request: Request) -> tuple[str, str, str]:
    found = catalog.route(request)
    assert isinstance(found, Route), found
    return found.version.name, found.version.version, found.signature_name


def refusal(catalog: Catalog, request: Request) -> tuple[ErrorCode, str]:
    found = catalog.route(request)
    assert isinstance(found, JobError)
    return found.code, found.message


def test_the_latest_version_serves_who_names_none(catalog: Catalog) -> None:
    assert route(catalog, asked(model_name="m")) == ("m", "10", "serving_default")
    assert route(catalog, asked(model_name="m", model_version="9")) == ("m", "9", "serving_default")


def test_a_job_may_name_its_signature_and_a_model_its_default(catalog: Catalog) -> None:
    flat = a_request(FLAT, {"x": (4,)}, model_name="n")
    assert route(catalog, flat) == ("n", "1", "flat")
    assert route(catalog, asked(model_name="n", signature="serving_default")) == ("n", "1", "serving_default")


def test_the_lane_follows_the_models_settings_and_its_signature(catalog: Catalog) -> None:
    flat = catalog.route(a_request(FLAT, {"x": (4,)}, model_name="n"))
    rows = catalog.route(asked(model_name="n", signature="serving_default"))
    assert isinstance(flat, Route)
    assert isinstance(rows, Route)
    assert (rows.policy.limit.rows, rows.policy.max_delay, rows.policy.batched, flat.policy.batched) == (5, 0.5, True, False)


def test_a_fleet_of_one_model_needs_no_name(catalog: Catalog) -> None:
    assert route(Catalog({"m": catalog.models["m"]}), asked()) == ("m", "10", "serving_default")
    assert refusal(catalog, asked()) == (
        ErrorCode.UNKNOWN_MODEL,
        "the job names no model_name, and the fleet serves several: m, n",
    )


def test_what_is_not_served_is_refused_with_what_is(catalog: Catalog) -> None:
    assert refusal(catalog, asked(model_name="k")) == (ErrorCode.UNKNOWN_MODEL, "the fleet serves no model 'k': it serves m, n")
    assert refusal(catalog, asked(model_name="m", model_version="8")) == (
        ErrorCode.UNKNOWN_VERSION,
        "model 'm' is not served in version '8': it is in 9, 10",
    )
    assert refusal(catalog, asked(model_name="m", signature="s")) == (
        ErrorCode.UNKNOWN_SIGNATURE,
        "model 'm' has no signature 's': it has serving_default, flat",
    )
    assert refusal(catalog, a_request(DOUBLE, {"x": (2, 5)}, model_name="m")) == (
        ErrorCode.INVALID_INPUT,
        "model 'm': input 'x' has shape [2, 5], the model takes [-1, 4]",
    )


class _Backend:
    def load(self, path: Path) -> FakeModel:
        return a_model()


def test_a_model_without_the_declared_signature_does_not_load() -> None:
    settings = ModelSettings.model_validate({"path": "m", "signature": "other"})
    with pytest.raises(ModelUnreadableError, match=r"no signature 'other': set models\.m\.signature to one of serving_default"):
        load_version(_Backend(), "m", "1", Path("m/1"), settings)


def make(root: Path, *versions: str, keras: bool = False) -> None:
    for version in versions:
        (root / version).mkdir(parents=True)
        (root / version / ("model.keras" if keras else "saved_model.pb")).touch()


def versions(path: Path, wanted: Any = "all") -> dict[str, Path]:
    return find_versions("m", ModelSettings.model_validate({"path": path, "versions": wanted}))


def test_versions_rise_as_numbers(tmp_path: Path) -> None:
    make(tmp_path, "10", "9")
    make(tmp_path, "11", keras=True)
    (tmp_path / "12").mkdir()  # nothing in it (yet)
    (tmp_path / "latest").mkdir()
    assert list(versions(tmp_path).items()) == [
        ("9", tmp_path / "9"),
        ("10", tmp_path / "10"),
        ("11", tmp_path / "11" / "model.keras"),
    ]
    assert list(versions(tmp_path, "latest")) == ["11"]
    assert list(versions(tmp_path, ["10", "9"])) == ["9", "10"]


def test_a_path_may_be_the_model_itself(tmp_path: Path) -> None:
    make(tmp_path, "7")
    assert versions(tmp_path / "7") == {"1": tmp_path / "7"}
    (tmp_path / "m.keras").touch()
    assert versions(tmp_path / "m.keras") == {"1": tmp_path / "m.keras"}


@pytest.mark.parametrize(
    ("path", "wanted", "message"),
    [
        ("m.keras", "all", "there is no file "),
        ("nowhere", "all", "there is no folder "),
        ("empty", "all", "holds no version: it should hold folders with a number for a name"),
        ("full", ["4", "3"], "version 4 is not in .*, which holds 3"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, path: str, wanted: Any, message: str) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "full", "3")
    with pytest.raises(ModelUnreadableError, match=rf"model 'm': .*{message}"):
        versions(tmp_path / path, wanted)
