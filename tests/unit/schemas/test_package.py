"""The package as a whole: what importing it costs, and that defaults stated twice are the same."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

from penstock_schemas.limits import Limits
from penstock_schemas.settings import LimitSettings, TopicSettings


def test_callers_load_no_pydantic() -> None:
    program = (
        "import sys, penstock_schemas.jobs, penstock_schemas.outcomes, penstock_schemas.dead, penstock_schemas.names\n"
        "print([name for name in ('pydantic', 'tensorflow', 'jsonschema', 'confluent_kafka', 'redis') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_limits_default_to_what_the_settings_default_to() -> None:
    said = LimitSettings.model_validate({}).model_dump() | {"record_bytes": TopicSettings.model_validate({}).max_job_bytes}
    assert dataclasses.asdict(Limits()) == said
