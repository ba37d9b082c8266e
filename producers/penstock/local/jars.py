"""Owns how Apache Kafka's jars reach this machine: Maven, once, into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Final

from penstock.local.errors import LocalError, LocalMissing
from penstock.local.guard import Guard
from penstock.local.process import ManagedProcess

JAVA_INSTALL: Final = "apt-get install default-jre-headless   (macOS: brew install openjdk@17)"
MAVEN_INSTALL: Final = "apt-get install maven   (macOS: brew install maven)"
_GOAL: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_FETCH_TIMEOUT: Final = 300.0
_OLDEST_JAVA: Final = 17


def cache_folder() -> Path:
    """Where Penstock keeps what it fetched: ``$XDG_CACHE_HOME/penstock``, else ``~/.cache/penstock``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "penstock"


def jars_folder() -> Path:
    """Where Kafka's jars are, once they were fetched; the name changes with the list of jars."""
    pom = _pom()
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", pom)
    if found is None:
        raise AssertionError("kafka-pom.xml names no kafka.version")
    return cache_folder() / f"kafka-{found[1]}-{hashlib.sha256(pom.encode()).hexdigest()[:8]}"


def why_not() -> str | None:
    """What keeps Apache Kafka from being started here, with the line that installs it; None where nothing does."""
    if _java() is None:
        return f"there is no Java 17 or newer on the PATH; install it: {JAVA_INSTALL}"
    if not jars_folder().is_dir() and shutil.which("mvn") is None:
        return f"Kafka's jars were not fetched yet and there is no Maven (mvn) on the PATH; install it: {MAVEN_INSTALL}"
    return None


def java() -> str:
    """The Java to run. Raises LocalMissing where there is none."""
    found = _java()
    if found is None:
        raise LocalMissing(f"Apache Kafka needs Java 17 or newer, and there is none on the PATH; install it: {JAVA_INSTALL}")
    return found


def fetch_jars(say: Callable[[str], None] = lambda _: None, guard: Guard | None = None) -> Path:
    """The folder with Kafka's jars, fetched (about 55 MB) where they are not there yet.

    They appear under their final name in one step, so a fetch that is cut short leaves nothing behind, and two at the same
    time do not harm each other. Raises LocalMissing without Maven, LocalError where Maven fails.
    """
    folder = jars_folder()
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise LocalMissing(
            f"fetching Kafka's jars needs Maven (mvn), and there is none on the PATH; install it: {MAVEN_INSTALL}"
        )
    say("fetching Apache Kafka's jars with Maven (once, about 55 MB)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Guard() as own:
        watcher = guard or own
        unfinished = watcher.make_folder("kafka-unfinished-", folder.parent)
        try:
            _run_maven(maven, unfinished, watcher)
            _publish(unfinished / "jars", folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _run_maven(maven: str, folder: Path, guard: Guard) -> None:
    pom, log = folder / "pom.xml", folder / "maven.log"
    pom.write_text(_pom())
    argv = [maven, "-B", "-q", "-f", str(pom), _GOAL, f"-DoutputDirectory={folder / 'jars'}"]
    # No perf data and no unpacked libraries in the shared temporary folder: a killed JVM would leave them there.
    options = f"{os.environ.get('MAVEN_OPTS', '')} -XX:-UsePerfData -Djava.io.tmpdir={folder}".strip()
    process = ManagedProcess("Maven", argv, log=log, env={**os.environ, "MAVEN_OPTS": options}, guard=guard)
    try:
        process.start()
        code = process.wait(_FETCH_TIMEOUT)
        if code != 0:
            what = f"was not done after {_FETCH_TIMEOUT:g} s" if code is None else f"failed with exit code {code}"
            raise LocalError(f"Maven {what} while it fetched Kafka's jars{process.log_tail()}")
    finally:
        process.kill()


def _publish(fetched: Path, folder: Path) -> None:
    try:
        fetched.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, with the same jars
            raise


def _pom() -> str:
    return resources.files("penstock.local").joinpath("kafka-pom.xml").read_text()


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    candidates = (shutil.which("java", path=str(Path(home) / "bin")) if home else None, shutil.which("java"))
    return next((path for path in candidates if path is not None and _version(path) >= _OLDEST_JAVA), None)


def _version(path: str) -> int:
    """The main version of a Java (0 where it says none), from ``openjdk version "17.0.15" …``; 8 calls itself 1.8."""
    said = subprocess.run([path, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else 0
