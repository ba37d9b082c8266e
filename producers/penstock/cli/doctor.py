"""Owns `penstock doctor`: one line per check; a failed one says what to do."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import typer

from penstock.cli.common import Flags, note, read_settings
from penstock.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from penstock_schemas.settings import Settings

_TIMEOUT: Final = 5.0
_TRIAL_SECONDS: Final = 10
"""How long the key of a trial write stays where it cannot be deleted."""
Verdict = Literal["ok", "note", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. ``advice``: what to do; ``code``: the exit code it asks for where it failed."""

    verdict: Verdict
    what: str
    advice: str = ""
    code: ExitCode = ExitCode.FINE


def run_doctor(flags: Flags) -> None:
    """Print every finding as it is made. Raises CommandError: 4 where a service cannot be reached, else 3 or 2 as they say."""
    settings = read_settings(flags)
    worst = ExitCode.FINE
    failed = 0
    checks = {
        "Redis": check_redis,
        f"Kafka at {settings.kafka.bootstrap_servers}": check_kafka,
        "the models, by loading them": check_models,
    }
    for what, check in checks.items():
        note(f"checking {what} …")  # a check may take a while
        for finding in check(settings):
            _print(finding)
            failed += finding.verdict == "FAIL"
            worst = max(worst, finding.code)
    if failed:
        raise CommandError(worst, f"{failed} checks failed" if failed > 1 else "1 check failed")


def check_kafka(settings: Settings) -> Iterator[Finding]:
    """Kafka answers, and the topics are as they should be."""
    from penstock.topics import KafkaUnreachable, TopicManager, TopicRefused

    servers = settings.kafka.bootstrap_servers
    manager = TopicManager(settings, timeout=_TIMEOUT)
    try:
        brokers = manager.brokers()
        yield Finding("ok", f"Kafka at {servers} answers ({brokers} broker{'s' if brokers > 1 else ''})")
        if settings.kafka.embedded:
            yield Finding("note", "the broker is the embedded one: it has no topic settings to check and keeps nothing")
            return
        found = manager.differences()
    except (KafkaUnreachable, TopicRefused) as error:
        yield Finding(
            "FAIL", str(error), "start it (`penstock up` starts one here), or set kafka.bootstrap_servers", ExitCode.UNREACHABLE
        )
        return
    if not found:
        yield Finding("ok", f"the topics of fleet {settings.fleet} are as they should be")
    for one in found:
        mend = "run `penstock topics apply`" if one.fixable else one.advice
        if one.key == "topic":
            yield Finding("FAIL", str(one), mend, ExitCode.NOT_THERE)
        elif one.breaks_contract:
            yield Finding("FAIL", str(one), mend, ExitCode.WRONG_USE)
        else:
            yield Finding("note", str(one), mend)


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Redis answers, is one primary, takes writes, and does not evict."""
    from redis import Redis
    from redis.exceptions import RedisError, ResponseError

    url = settings.redis.url
    kind: Any = Redis  # its types leave what its commands take and give unknown
    client = kind.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, decode_responses=True)
    with client:
        try:
            info: dict[str, Any] = client.info()
            yield Finding("ok", f"Redis answers (version {info.get('redis_version', 'unknown')})")
        except RedisError as error:
            advice = "start it (`penstock up` starts one here), or set redis.url"
            yield Finding("FAIL", f"Redis does not answer: {error}", advice, ExitCode.UNREACHABLE)
            return
        yield from _redis_kind(info)
        yield from _redis_write(client, f"{settings.fleet}:doctor:{secrets.token_hex(8)}")
        try:
            policy: str = info.get("maxmemory_policy") or client.config_get("maxmemory-policy")["maxmemory-policy"]
        except (ResponseError, KeyError):
            yield Finding("note", "Redis does not say what its maxmemory-policy is", "make sure that it is noeviction")
            return
        if policy == "noeviction":
            yield Finding("ok", "Redis does not evict (maxmemory-policy noeviction)")
        else:
            advice = "redis-cli CONFIG SET maxmemory-policy noeviction (and in its configuration)"
            yield Finding("FAIL", f"Redis may throw results away: maxmemory-policy is {policy}", advice, ExitCode.WRONG_USE)


def check_models(settings: Settings) -> Iterator[Finding]:
    """Every declared model loads."""
    from penstock.cli.models import describe_models

    if not settings.models:
        yield Finding(
            "note", "no model is declared here", "give --model NAME=PATH, or [models.NAME] in penstock.toml, to check one"
        )
        return
    try:
        described = describe_models(settings)
    except CommandError as error:
        yield Finding("FAIL", str(error), 'pip install "penstock[worker]"', ExitCode.NOT_THERE)
        return
    for model in described:
        trouble = model.get("error")
        versions = ", ".join(str(version["version"]) for version in model.get("versions") or [])
        if trouble:
            yield Finding(
                "FAIL",
                f"model {model['name']} does not load: {trouble}",
                "mend models.*.path, or the model",
                ExitCode.NOT_THERE,
            )
        else:
            yield Finding("ok", f"model {model['name']} loads and answers (version {versions})")


def _redis_kind(info: dict[str, Any]) -> Iterator[Finding]:
    if info.get("cluster_enabled"):
        advice = "use one primary (replicas, Sentinel and managed ones are fine)"
        yield Finding(
            "FAIL", "Redis is a Cluster, which cannot apply a batch and its position together", advice, ExitCode.WRONG_USE
        )
    if info.get("role") == "slave":
        yield Finding(
            "FAIL", "this Redis is a replica, which takes no writes", "set redis.url to its primary", ExitCode.WRONG_USE
        )


def _redis_write(client: Any, key: str) -> Iterator[Finding]:
    """It takes a write, by writing: its memory may be full, its disk broken, or this user not allowed to."""
    from redis.exceptions import RedisError

    try:
        client.set(key, b"", ex=_TRIAL_SECONDS)
        client.delete(key)
    except RedisError as error:
        advice = (
            "give it memory, a disk or the right, as it says, or set redis.url to its primary: no result gets there until then"
        )
        yield Finding("FAIL", f"Redis takes no writes: {error}", advice, ExitCode.WRONG_USE)
    else:
        yield Finding("ok", "Redis takes writes")


def _print(finding: Finding) -> None:
    colours: dict[Verdict, str] = {"ok": "green", "note": "yellow", "FAIL": "red"}
    mark = (
        typer.style(f"{finding.verdict:>4}", fg=colours[finding.verdict], bold=True)
        if sys.stdout.isatty()
        else f"{finding.verdict:>4}"
    )
    typer.echo(f"{mark}  {finding.what}")
    if finding.advice:
        typer.echo(f"      → {finding.advice}")
