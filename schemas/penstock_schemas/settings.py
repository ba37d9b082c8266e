"""Owns everything a user configures: one model, read from ``penstock.toml``, the environment and flags.

In order of increasing precedence: defaults, the file, the environment (``PENSTOCK_KAFKA__BOOTSTRAP_SERVERS``), flags.
Durations are in seconds, sizes in bytes, unless a name says otherwise.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from penstock_schemas.names import DEFAULT_TIERS, TIER_REGEX, Names, tier_seconds

MIB = 1024 * 1024
DAY = 86_400.0
Role = Literal["work", "project"]

_config_file: ContextVar[Path | None] = ContextVar("penstock_config_file", default=None)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Section):
    """Where Kafka is, and how to speak to it."""

    bootstrap_servers: str = Field(default="localhost:9092", description="Brokers to start from, HOST:PORT, comma-separated.")
    properties: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="Further librdkafka properties for every client, security.* and sasl.* say."
    )
    group_protocol: Literal["classic", "consumer"] = Field(
        default="classic", description="classic (cooperative-sticky), or consumer (KIP-848)."
    )
    session_timeout: float = Field(
        default=8.0, ge=1, le=300, description="A worker unheard of this long loses its partitions (classic)."
    )
    embedded: bool = Field(
        default=False, description="The broker is the in-process one of the demo: topic settings are not checked."
    )


class RedisSettings(_Section):
    """Where results are cached."""

    url: str = Field(default="redis://localhost:6379/0", description="redis://, rediss:// or unix:// URL of one primary.")
    timeout: float = Field(default=5.0, gt=0, le=60, description="Longest that one call may take.")


class TopicSettings(_Section):
    """How topics are made. What is part of the contract is not configurable and not listed here."""

    job_partitions: int = Field(
        default=8, ge=1, le=10_000, description="Partitions of each jobs topic: the most workers that share it."
    )
    outcome_partitions: int = Field(
        default=8, ge=1, le=10_000, description="Partitions of the outcomes topic; never change it later."
    )
    replication: int | None = Field(
        default=None, ge=1, le=15, description="Replicas; unset: 3 where there are three brokers, else 1."
    )
    jobs_retention: float = Field(default=7 * DAY, ge=60, description="How long an unread job is kept.")
    outcomes_retention: float = Field(default=9 * DAY, ge=60, description="How long outcomes are kept in the topic.")
    dead_retention: float = Field(default=30 * DAY, ge=60, description="How long dead letters are kept.")
    max_job_bytes: int = Field(default=4 * MIB, ge=1024, le=512 * MIB, description="Largest job record.")
    max_outcome_bytes: int = Field(default=8 * MIB, ge=4096, le=512 * MIB, description="Largest outcome record.")


class ModelSettings(_Section):
    """One declared model."""

    path: Path = Field(
        description="Folder with one sub-folder a version (TF Serving's layout), a SavedModel, or a .keras file."
    )
    versions: Literal["all", "latest"] | list[Annotated[str, StringConstraints(pattern=r"^\d+$")]] = Field(
        default="all", description="Versions to serve: all, latest, or a list."
    )
    signature: str = Field(default="serving_default", description="Signature for jobs that name none.")
    max_batch_rows: int = Field(default=1024, ge=1, le=1_000_000, description="Most rows in one call of the model.")
    max_delay: float = Field(
        default=0.0, ge=0, le=60, description="How long a job may wait for company while the engine is idle."
    )
    allowed_batch_sizes: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="Row counts that the model is called with (others are padded); unset: any, unpadded."
    )
    transform: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = Field(
        default=None, description="Pre- and post-processing, module:Class."
    )
    allow_non_finite: bool = Field(default=False, description="Let NaN and infinity in and out (out only in binary).")
    timeout: float = Field(
        default=120.0, gt=0, le=86_400, description="Longest that one call may run before its engine is killed."
    )
    attempts: int | None = Field(default=None, ge=1, le=20, description="Tries that a job has; unset: retry.attempts.")
    first_tier: str | None = Field(default=None, description="Tier of a job's first retry; unset: the first of retry.tiers.")

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        sizes = self.allowed_batch_sizes
        if sizes is not None and (not sizes or sorted(set(sizes)) != sizes or sizes[-1] != self.max_batch_rows):
            raise ValueError(
                f"allowed_batch_sizes {sizes} must rise without repeats and end with max_batch_rows ({self.max_batch_rows})"
            )
        return self


class RetrySettings(_Section):
    """When a job that failed for a passing reason is tried again."""

    tiers: list[Annotated[str, StringConstraints(pattern=rf"^{TIER_REGEX}$")]] = Field(
        default_factory=lambda: list(DEFAULT_TIERS),
        min_length=1,
        max_length=8,
        description="Delays of the first, second, … retry, each a topic <fleet>.retry.<tier>; the last one repeats.",
    )
    attempts: int = Field(default=4, ge=1, le=20, description="Tries that a job has, the first one included.")
    model_grace: float = Field(
        default=600.0,
        ge=0,
        le=DAY,
        description="How long a job waits for a version that is not served, at no attempt; and a worker for a model it had.",
    )
    breaker_grace: float = Field(
        default=3600.0, ge=0, le=7 * DAY, description="How long a job waits for a model that fails every job, at no attempt."
    )
    breaker_failures: int = Field(
        default=100, ge=1, description="So many failed jobs of a model in a row, over breaker_seconds or more, and it rests."
    )
    breaker_seconds: float = Field(default=10.0, ge=0, le=3600, description="How long such a row must last at least.")

    @model_validator(mode="after")
    def _tiers_differ(self) -> Self:
        if len(set(self.tiers)) != len(self.tiers):
            raise ValueError(f"tiers {self.tiers} name one twice")
        return self


class LimitSettings(_Section):
    """Limits a job is checked against before anything of it is parsed or allocated."""

    header_bytes: int = Field(default=1 * MIB, ge=256, description="Largest JSON in front of binary tensors.")
    rows: int = Field(default=65_536, ge=1, description="Most rows in one job.")
    tensors: int = Field(default=64, ge=1, le=1024, description="Most inputs, and most requested outputs.")
    rank: int = Field(default=8, ge=1, le=32, description="Most dimensions of a tensor.")
    elements: int = Field(default=16 * MIB, ge=1, description="Most elements in one tensor.")
    string_bytes: int = Field(default=4 * MIB, ge=1, description="Longest element of a BYTES tensor.")


class WorkerSettings(_Section):
    """How one worker runs."""

    roles: list[Role] = Field(
        default_factory=lambda: list[Role](("work", "project")), min_length=1, description="work, project, or both."
    )
    queues: list[Annotated[str, StringConstraints(pattern=r"^([a-z0-9-]{1,32})?$")]] = Field(
        default_factory=lambda: [""], min_length=1, description='Job queues to read; "" is <fleet>.jobs itself.'
    )
    devices: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="auto: every GPU found, else the CPU.")
    backend: str = Field(default="penstock_worker.engine.tensorflow_models", description="Module that loads and calls models.")
    cpu_threads: int = Field(default=0, ge=0, le=1024, description="TensorFlow's threads on a CPU; 0: one a core.")
    window: int = Field(default=4, ge=2, le=64, description="Deliveries on their way through one engine at a time.")
    delivery_records: int = Field(default=2048, ge=1, le=65_536, description="Most records in one delivery to the engine.")
    delivery_bytes: int = Field(
        default=8 * MIB, ge=64 * 1024, le=512 * MIB, description="Most bytes in one delivery, above one record."
    )
    prefetch_bytes: int = Field(default=32 * MIB, ge=64 * 1024, description="Most bytes that the Kafka client reads ahead.")
    spare: Literal["imported", "loaded", "none"] = Field(
        default="imported",
        description="A second engine process for each device, to take over: libraries imported, or models loaded, too.",
    )
    engine_memory: int | None = Field(
        default=None, ge=64 * MIB, description="An engine that takes more bytes of its own is killed; unset: no limit."
    )
    shutdown_grace: float = Field(default=30.0, ge=0, le=3600, description="How long SIGTERM waits for what is in flight.")
    revoke_grace: float = Field(default=5.0, ge=0, le=60, description="How long a revoked partition may hold up a rebalance.")
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_534, description="Port of /metrics, /livez, /readyz; unset: none; 0: any free one."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: for people on a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level that is logged.")


class Settings(BaseSettings):
    """Everything a user configures."""

    model_config = SettingsConfigDict(
        env_prefix="PENSTOCK_", env_nested_delimiter="__", extra="forbid", frozen=True, nested_model_default_partial_update=True
    )

    fleet: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")] = Field(
        default="penstock", description="Prefix of every topic, group and Redis key."
    )
    result_ttl: float = Field(
        default=DAY, ge=1, le=365 * DAY, description="How long a result stays readable after it was written."
    )
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    topics: TopicSettings = Field(default_factory=TopicSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    models: dict[str, ModelSettings] = Field(default_factory=dict, description="Declared models by name.")

    @field_validator("models")
    @classmethod
    def _model_names(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name in models:
            if not name or len(name) > 128 or not name.isprintable() or "=" in name:
                raise ValueError(f"model name {name!r} must be 1 to 128 printable characters without =")
        return models

    @model_validator(mode="after")
    def _outcomes_outlive_jobs(self) -> Self:
        """I2 needs every outcome to stay in its topic as long as its job may still run, and its result be readable."""
        needed = self.result_ttl + self.topics.jobs_retention + self.longest_delay
        if self.topics.outcomes_retention < needed:
            raise ValueError(
                f"topics.outcomes_retention is {self.topics.outcomes_retention:g} s, less than result_ttl + "
                f"topics.jobs_retention + all retry delays = {needed:g} s: set it to that or more"
            )
        return self

    @model_validator(mode="after")
    def _first_tiers_exist(self) -> Self:
        for name, model in self.models.items():
            if model.first_tier is not None and model.first_tier not in self.retry.tiers:
                known = ", ".join(self.retry.tiers)
                raise ValueError(f"models.{name}.first_tier is {model.first_tier!r}, which is none of retry.tiers: {known}")
        return self

    @property
    def longest_delay(self) -> float:
        """How long retries can hold a job back at most, all waits together, in seconds."""
        delays = [tier_seconds(tier) for tier in self.retry.tiers]
        attempts = max([self.retry.attempts, *(model.attempts or 1 for model in self.models.values())])
        tries = sum(delays[min(number, len(delays) - 1)] for number in range(attempts - 1))
        return tries + self.retry.model_grace + self.retry.breaker_grace + 2 * max(delays)

    @property
    def names(self) -> Names:
        return Names(self.fleet)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags (init), then environment, then the file."""
        del dotenv_settings, file_secret_settings
        path = _config_file.get()
        if path is None:
            return init_settings, env_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)


def load_settings(config: Path | None = None, **flags: Any) -> Settings:
    """Read the settings: ``config`` (else ``penstock.toml`` here, where there is one), environment, flags.

    ``flags`` are nested dicts as in the file, e.g. ``kafka={"bootstrap_servers": "…"}``. Raises FileNotFoundError for a
    ``config`` that is not there, and pydantic's ValidationError naming key, value and what is allowed.
    """
    if config is None:
        config = Path("penstock.toml") if Path("penstock.toml").is_file() else None
    elif not config.is_file():
        raise FileNotFoundError(f"there is no configuration file {config}")
    token = _config_file.set(config)
    try:
        return Settings(**flags)
    finally:
        _config_file.reset(token)
