"""Owns the command line as users see it: every command, its flags, their help. What they do is in the other modules here.

This module loads nothing but typer, so that `penstock --help` answers at once.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.common import Flags
from penstock.cli.dead import dead_app
from penstock.cli.exits import EXIT_CODES_HELP, CommandError, ExitCode, told_errors

app = typer.Typer(
    help="An asynchronous prediction fleet: jobs in through Kafka, TensorFlow in micro-batches, outcomes to Kafka and Redis.",
    epilog=EXIT_CODES_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics_app = typer.Typer(help="Compare and make the fleet's topics.", epilog=EXIT_CODES_HELP, no_args_is_help=True)
app.add_typer(topics_app, name="topics")
app.add_typer(dead_app, name="dead")


class Kafka(StrEnum):
    """What --kafka accepts."""

    APACHE = "apache"
    EMBEDDED = "embedded"


class Arrivals(StrEnum):
    """What --arrivals accepts."""

    CONSTANT = "constant"
    POISSON = "poisson"


class Document(StrEnum):
    """What `penstock schema` accepts."""

    JOB = "job"
    OUTCOME = "outcome"
    ASYNCAPI = "asyncapi"


Config = Annotated[Path | None, typer.Option(help="Configuration file; default: penstock.toml here, where there is one.")]
Fleet = Annotated[str | None, typer.Option(help="The fleet's name.")]
Bootstrap = Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Kafka brokers to start from.")]
Redis = Annotated[str | None, typer.Option(metavar="URL", help="Where Redis is.")]
Models = Annotated[list[str] | None, typer.Option("--model", metavar="NAME=PATH", help="A model to serve; may be repeated.")]
KafkaKind = Annotated[Kafka | None, typer.Option("--kafka", help="Which Kafka to start; default: apache where it can be.")]
Wait = Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the outcome.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, binary tensors included.")]


@app.command()
def demo(kafka: KafkaKind = None) -> None:
    """See it work: services, a model trained on scanned digits, a worker, and the digits sent through the fleet."""
    with told_errors():
        from penstock.cli.demo import run_demo

        run_demo(kafka.value if kafka else None)


@app.command()
def up(
    model: Models = None,
    kafka: KafkaKind = None,
    kafka_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: 9092, or a free one if in use.")] = None,
    redis_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Default: 6379, or a free one if in use.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep what Kafka and Redis hold here; default: nothing is kept.")
    ] = None,
    config: Config = None,
    fleet: Fleet = None,
) -> None:
    """Keep a fleet up in the foreground: Kafka, Redis, topics and a worker. Prints one line with the addresses when ready."""
    with told_errors():
        from penstock.cli.up import run_up

        run_up(
            Flags(config, fleet, models=model or []),
            kind=kafka.value if kafka else None,
            kafka_port=kafka_port,
            redis_port=redis_port,
            data_dir=data_dir,
        )


@app.command()
def worker(
    config: Config = None,
    model: Models = None,
    roles: Annotated[str | None, typer.Option(metavar="work,project", help="Which roles to run; default: all.")] = None,
    metrics_port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of /metrics, /livez and /readyz.")] = None,
) -> None:
    """Run a worker against Kafka and Redis that are there already. Start it again, anywhere, to scale."""
    with told_errors():
        from penstock.cli.worker import run_worker

        run_worker(Flags(config, models=model or []), roles, metrics_port)


@topics_app.command("show")
def topics_show(config: Config = None, fleet: Fleet = None, bootstrap: Bootstrap = None) -> None:
    """Show the topics as they should be, and what differs. Exits with 3 where something does."""
    with told_errors():
        from penstock.cli.topics import show_topics

        show_topics(Flags(config, fleet, bootstrap))


@topics_app.command("apply")
def topics_apply(
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before existing topics are changed.")] = False,
) -> None:
    """Make missing topics and mend settings; what differs is shown before it is changed."""
    with told_errors():
        from penstock.cli.topics import apply_topics

        apply_topics(Flags(config, fleet, bootstrap), yes=yes)


@app.command()
def models(config: Config = None, model: Models = None) -> None:
    """Load the declared models and show name, versions, signatures, and a job to paste."""
    with told_errors():
        from penstock.cli.models import show_models

        show_models(Flags(config, models=model or []))


@app.command()
def submit(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="A JSON request, - for stdin, or INPUT=FILE.npy for each input.")
    ],
    wait: Wait = None,
    as_json: AsJson = False,
    job_id: Annotated[str | None, typer.Option("--id", help="The job's id; default: the request's, else a new one.")] = None,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
    redis: Redis = None,
) -> None:
    """Submit one job and print its id; with --wait, print its outcome too."""
    with told_errors():
        from penstock.cli.submit import submit_job

        submit_job(Flags(config, fleet, bootstrap, redis), model, files, job_id=job_id, wait=wait, as_json=as_json)


@app.command()
def result(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    wait: Wait = None,
    as_json: AsJson = False,
    config: Config = None,
    fleet: Fleet = None,
    redis: Redis = None,
) -> None:
    """Print a job's outcome. Exits with 3 where there is none (yet): a job never submitted looks the same."""
    with told_errors():
        from penstock.cli.result import show_result

        show_result(Flags(config, fleet, redis=redis), job_id, wait=wait, as_json=as_json)


@app.command()
def bench(
    job: Annotated[
        list[str] | None,
        typer.Option("--job", metavar="MODEL[:ROWS][=WEIGHT]", help="A kind of job; several are mixed by their weights."),
    ] = None,
    rate: Annotated[
        list[float] | None, typer.Option(min=0.001, metavar="JOBS/S", help="An open loop; several are run in turn.")
    ] = None,
    callers: Annotated[list[int] | None, typer.Option(min=1, help="A closed loop of so many; several are run in turn.")] = None,
    arrivals: Annotated[Arrivals, typer.Option(help="When the jobs of an open loop come.")] = Arrivals.POISSON,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each load lasts.")] = 10.0,
    timeout: Annotated[float | None, typer.Option(min=0.001, metavar="SECONDS", help="The jobs' own deadline.")] = None,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the last results.")] = 30.0,
    tensor: Annotated[
        list[str] | None,
        typer.Option("--input", metavar="NAME=DATATYPE[SHAPE]", help="An input, where the model is not declared here."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the same arrivals and inputs again.")] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write everything to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option(metavar="BEFORE AFTER", help="Compare two such files; nothing is run.")
    ] = None,
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
    redis: Redis = None,
    model: Models = None,
) -> None:
    """Put load on a running fleet: how long jobs take from when they are due, where that time goes, what bounds it."""
    with told_errors():
        try:
            from penstock.cli.bench import Wanted, compare_records, run_bench
        except ImportError as error:
            raise CommandError(ExitCode.NOT_THERE, f'{error}: pip install "penstock[bench]"') from error

        if compare is not None:
            compare_records(*compare)
            return
        run_bench(
            Flags(config, fleet, bootstrap, redis, model or []),
            Wanted(
                job or [],
                tensor or [],
                rate or [],
                callers or [],
                arrivals.value,
                seconds,
                wait,
                timeout,
                seed,
                json,
                plot,
            ),
        )


@app.command()
def schema(document: Annotated[Document, typer.Argument(help="Which document.")] = Document.JOB) -> None:
    """Print the contract as a document: JSON Schema of a job or an outcome, or AsyncAPI of the whole."""
    with told_errors():
        from penstock.cli.schema import print_schema

        print_schema(document.value)


@app.command("config")
def config_command(
    config: Config = None,
    fleet: Fleet = None,
    bootstrap: Bootstrap = None,
    redis: Redis = None,
    model: Models = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/configuration.md instead.")] = False,
) -> None:
    """Show every key: its meaning, default, present value, and where that came from."""
    with told_errors():
        from penstock.cli.config import print_markdown, show_config

        if markdown:
            print_markdown()
        else:
            show_config(Flags(config, fleet, bootstrap, redis, model or []))


@app.command()
def doctor(
    config: Config = None, fleet: Fleet = None, bootstrap: Bootstrap = None, redis: Redis = None, model: Models = None
) -> None:
    """Check everything a fleet needs; each line says what to do where it fails."""
    with told_errors():
        from penstock.cli.doctor import run_doctor

        run_doctor(Flags(config, fleet, bootstrap, redis, model or []))
