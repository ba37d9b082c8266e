"""Owns which models an engine serves, in which versions, and which of them a job means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from penstock_schemas.errors import ErrorCode, JobError
from penstock_worker.engine.assembly import Policy
from penstock_worker.engine.backend import Backend, LoadedModel, ModelUnreadableError
from penstock_worker.engine.batch_limit import BatchLimit
from penstock_worker.engine.signature import Signature
from penstock_worker.engine.transforms import Transform

if TYPE_CHECKING:
    from penstock_schemas.jobs import Request
    from penstock_schemas.settings import ModelSettings


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """One version of one model, ready to be called."""

    name: str
    version: str
    settings: ModelSettings
    model: LoadedModel
    transform: Transform | None
    signatures: Mapping[str, Signature]
    """What jobs see: the model's signatures, or the transform's in front of them."""

    limits: dict[str, BatchLimit] = field(default_factory=dict[str, BatchLimit])
    """How many rows a call of each signature may have now."""

    def policy(self, signature: str) -> Policy:
        facade, own = self.signatures[signature], self.model.signatures[signature]
        settings = self.settings
        limit = self.limits.setdefault(signature, BatchLimit(settings.max_batch_rows, settings.allowed_batch_sizes))
        return Policy(limit, settings.max_delay, facade.batched and own.batched)


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Where jobs of one request go."""

    version: Version
    signature_name: str
    signature: Signature
    policy: Policy


class Catalog:
    """The loaded versions of all declared models."""

    def __init__(self, models: Mapping[str, Mapping[str, Version]]) -> None:
        """``models``: versions by name, in rising order (the last is the latest)."""
        self.models = models

    def route(self, request: Request) -> Route | JobError:
        """Where ``request`` goes, or what is wrong with it."""
        name = request.model_name
        served = ", ".join(sorted(self.models)) or "none"
        if name is None:
            if len(self.models) != 1:
                return JobError(ErrorCode.UNKNOWN_MODEL, f"the job names no model_name, and the fleet serves several: {served}")
            name = next(iter(self.models))
        versions = self.models.get(name)
        if versions is None:
            return JobError(ErrorCode.UNKNOWN_MODEL, f"the fleet serves no model {name!r}: it serves {served}")
        version = versions.get(request.model_version) if request.model_version is not None else list(versions.values())[-1]
        if version is None:
            known = ", ".join(versions)
            return JobError(
                ErrorCode.UNKNOWN_VERSION,
                f"model {name!r} is not served in version {request.model_version!r}: it is in {known}",
            )
        signature_name = request.signature if request.signature is not None else version.settings.signature
        signature = version.signatures.get(signature_name)
        if signature is None:
            known = ", ".join(version.signatures)
            return JobError(ErrorCode.UNKNOWN_SIGNATURE, f"model {name!r} has no signature {signature_name!r}: it has {known}")
        named = signature.named(request)
        error = named if isinstance(named, JobError) else signature.misfit(named)
        if error is not None:
            return JobError(error.code, f"model {name!r}: {error.message}")
        return Route(version, signature_name, signature, version.policy(signature_name))


def load_version(backend: Backend, name: str, version: str, path: Path, settings: ModelSettings) -> Version:
    """Load one version. Raises :class:`ModelUnreadableError`."""
    model = backend.load(path)
    transform = None if settings.transform is None else Transform(settings.transform)
    signatures = {
        key: signature if transform is None else transform.facade(signature) for key, signature in model.signatures.items()
    }
    if settings.signature not in signatures:
        raise ModelUnreadableError(
            f"{path} has no signature {settings.signature!r}: set models.{name}.signature to one of {', '.join(signatures)}"
        )
    return Version(name, version, settings, model, transform, signatures)


def find_versions(name: str, settings: ModelSettings) -> dict[str, Path]:
    """The versions of a model that its settings ask for, in rising order: version to the path to load.

    Raises :class:`ModelUnreadableError` where one that is asked for is not there.
    """
    root = settings.path
    if root.suffix == ".keras" or (root / "saved_model.pb").is_file():
        if not root.exists():
            raise ModelUnreadableError(f"model {name!r}: there is no file {root}")
        return {"1": root}
    if not root.is_dir():
        raise ModelUnreadableError(f"model {name!r}: there is no folder {root}")
    found = {
        folder.name: path for folder in root.iterdir() if folder.name.isdecimal() and (path := _model_in(folder)) is not None
    }
    if not found:
        raise ModelUnreadableError(
            f"model {name!r}: {root} holds no version: it should hold folders with a number for a name, "
            "each with a saved_model.pb or one .keras file"
        )
    rising = sorted(found, key=int)
    if settings.versions == "latest":
        rising = rising[-1:]
    elif settings.versions != "all":
        missing = [version for version in settings.versions if version not in found]
        if missing:
            raise ModelUnreadableError(
                f"model {name!r}: version {missing[0]} is not in {root}, which holds {', '.join(rising)}"
            )
        rising = sorted(settings.versions, key=int)
    return {version: found[version] for version in rising}


def _model_in(folder: Path) -> Path | None:
    if (folder / "saved_model.pb").is_file():
        return folder
    keras = list(folder.glob("*.keras"))
    return keras[0] if len(keras) == 1 else None
