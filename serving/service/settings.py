"""This module reads the service's settings: environment variables, read once at the start."""

from pathlib import Path

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Settings come from the environment: `NIGHTSTILL_SERVING_…`, and the pipeline's RELEASE_STORE and TRUSTED_KEYS."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSTILL_SERVING_", frozen=True, extra="ignore")

    workload: str = Field(min_length=1, description="whose champion answers")
    release_store: str = Field(
        default=".nightstill/releases",
        validation_alias=AliasChoices("NIGHTSTILL_RELEASE_STORE", "release_store"),
        description="folder or s3://bucket/prefix",
    )
    trusted_keys: str = Field(
        default="",
        validation_alias=AliasChoices("NIGHTSTILL_TRUSTED_KEYS", "trusted_keys"),
        description="PEM file, or text, of the keys of which one must have signed; empty: any release is served",
    )
    cache: Path | None = Field(default=None, description="folder; default: nightstill in the user's cache folder")
    keep_requests: Path | None = Field(
        default=None, description="folder for the raw rows of requests; default: none are kept"
    )
    keep_days: int = Field(default=30, ge=1, description="that rows of requests are kept")
    keep_bytes: int = Field(default=2**30, ge=1, description="of all files of the workload's kept requests")
    host: str = "127.0.0.1"
    port: int = Field(default=8081, ge=0, le=65535)
    poll_seconds: float = Field(default=10.0, gt=0, description="how often the ledger is asked for a new entry")
    max_rows: int = Field(default=4096, ge=1, description="rows that the model sees in one request")
    max_table_rows: int = Field(default=500_000, ge=1, description="rows of one request's tables, all together")
    max_further_rows: int = Field(default=500_000, ge=1, description="rows of each table of a request but the first")
    scores_at_once: int = Field(
        default=2,
        ge=1,
        description="tables that are scored at the same time, and as many requests to recommend; others wait",
    )
    max_bytes: int = Field(default=16 * 2**20, ge=1, description="bytes of one request's body")
    max_json_bytes: int = Field(default=4 * 2**20, ge=1, description="of a JSON body, which takes far more when read")
    max_table_bytes: int = Field(default=128 * 2**20, ge=1, description="of one request's table when it is unpacked")
    max_pixels: int = Field(default=2**26, ge=1, description="of all image files of one request once they are unpacked")
    max_file_pixels: int = Field(default=2**22, ge=1, description="of one image file; a release may allow fewer")
    max_bytes_at_once: int = Field(default=64 * 2**20, ge=1, description="of all large bodies that are held")
    max_header_bytes: int = Field(default=16384, ge=1, description="of the address and headers of one request")
    max_connections: int = Field(default=512, ge=1, description="then the one that idles longest is closed")
    idle_seconds: float = Field(default=10.0, gt=0, description="between requests, and for the headers of one")
    body_seconds: float = Field(default=30.0, gt=0, description="for the body of a request, and to take an answer")
    threads: int = Field(default=1, ge=1, description="of ONNX Runtime, for one request")
    drain_seconds: int = Field(default=20, ge=1, description="for requests under way when the service is told to stop")

    @field_validator("keep_requests", mode="before")
    @classmethod
    def _folder(cls, value: object) -> object:
        if value == "":
            return None
        if "://" in str(value):
            raise ValueError("a folder is needed, not an address; sync it to where the rows are read")
        return value
