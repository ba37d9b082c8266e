"""Owns the closed set of error codes, and the value with which a job's failure is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a job failed or expired. The set is closed and part of the contract: ``docs/contract.md`` lists it."""

    INVALID_JOB = "invalid_job"
    """The record is no inference request: not JSON, a field of the wrong kind, lengths that do not add up, a bad id."""
    TOO_LARGE = "too_large"
    """The request is well formed so far, but passes one of the fleet's limits (bytes, rows, tensors, rank, strings)."""
    UNKNOWN_MODEL = "unknown_model"
    """The fleet declares no model of that name, or several and the job names none."""
    UNKNOWN_VERSION = "unknown_version"
    """The model is served, but not in that version, nor was it within ``retry.model_grace``."""
    UNKNOWN_SIGNATURE = "unknown_signature"
    """The model has no signature of that name."""
    INVALID_INPUT = "invalid_input"
    """The inputs do not fit the model's signature: a name, datatype or shape."""
    NON_FINITE_INPUT = "non_finite_input"
    """An input holds NaN or infinity (also after its cast) and the model does not allow that."""
    UNKNOWN_OUTPUT = "unknown_output"
    """The job asks for an output that the signature does not have."""
    NON_FINITE_OUTPUT = "non_finite_output"
    """The model answered NaN or infinity, and is not declared to be allowed to."""
    MODEL_ERROR = "model_error"
    """The model refused these values."""
    TRANSFORM_ERROR = "transform_error"
    """The model's pre- or post-processing raised on this job."""
    OUT_OF_MEMORY = "out_of_memory"
    """The job alone does not fit the device's memory."""
    ENGINE_CRASH = "engine_crash"
    """The engine process, or the whole worker, died while it ran this job alone, twice."""
    ENGINE_TIMEOUT = "engine_timeout"
    """The model ran past its timeout on this job alone, and its engine was killed, twice."""
    TRANSFORM_RETRY = "transform_retry"
    """The model's transform asked for another try, as often as the job was tried."""
    MODEL_UNAVAILABLE = "model_unavailable"
    """The model failed every job for longer than jobs may wait for it."""
    OUTCOME_TOO_LARGE = "outcome_too_large"
    """The result is larger than the outcomes topic takes."""
    DEADLINE_EXCEEDED = "deadline_exceeded"
    """The job's deadline had passed before it was decoded (status ``expired``)."""


@dataclass(frozen=True, slots=True)
class JobError:
    """What was wrong with one job: ``message`` says what, where, and what would be right, in a sentence."""

    code: ErrorCode
    message: str
