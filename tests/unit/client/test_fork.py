"""A client carried into a forked process says so, at once, and does not keep that process from ending."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

CARRY = """
    import os, sys
    from penstock import Client, ClientForked

    client = Client("127.0.0.1:1", "redis://127.0.0.1:1/0", delivery_timeout=1.0)
    job = client.submit("m", {"x": [1.0]})
    try:
        job.result(0.3)  # its threads run, and may hold locks
    except TimeoutError:
        pass
    child = os.fork()
    if child == 0:
        for use in (
            lambda: client.submit("m", {"x": [1.0]}),
            lambda: job.result(),
            lambda: job.poll(),
            lambda: client.result("a"),
            lambda: client.flush(),
            lambda: next(client.map("m", [{"x": [1.0]}])),
            lambda: next(client.as_completed([job])),
        ):
            try:
                use()
            except ClientForked as error:
                assert "post_fork" in str(error)
            else:
                sys.exit(3)
        client.close()  # nothing here is ours to close
        ENDING
    _, status = os.waitpid(child, 0)
    try:
        client.close(0.1)
    except Exception:
        pass
    print("child ended with", os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.parametrize("ending", ["os._exit(0)", "sys.exit(0)", "del client, job; import gc; gc.collect(); sys.exit(0)"])
def test_a_client_carried_across_fork_refuses_and_the_child_ends(ending: str) -> None:
    script = textwrap.dedent(CARRY).replace("ENDING", ending)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "child ended with 0\n", done.stdout + done.stderr


def test_a_client_made_in_the_child_works_there() -> None:
    script = """
        import os, sys
        from penstock.testing import FakeFleet
        carried = FakeFleet({"m": lambda inputs: inputs}).client()
        child = os.fork()
        if child == 0:
            with FakeFleet({"m": lambda inputs: inputs}) as fleet, fleet.client() as client:
                sys.exit(0 if client.submit("m", {"x": [1.0]}).result(30)["x"][0] == 1.0 else 4)
        print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "child ended with 0\n", done.stdout + done.stderr
