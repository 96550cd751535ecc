"""Versions, memory, history and log of the server, under A1111's and SD.Next's paths."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

import psutil
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from safelight import __version__
from safelight.errors import JobMissingError
from safelight.jobs.job import Job, JobState
from safelight.jobs.queue.store import JobStore
from safelight.runtime.machine import package_version
from safelight.server.api.a1111.progress import IMAGE_JOB_KINDS
from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.allowlist import default_checkpoint_name
from safelight.server.security.dependencies import CurrentPrincipal, current_admin

router = APIRouter(prefix="/sdapi", tags=["A1111"])

API_NAME = "sd.next"
"""The name of the API, which SD.Next's clients check before they use a server."""
MAX_LINE_BYTES = 4096
"""The assumed maximum length of a log line, in bytes."""
LIBRARIES = ("torch", "diffusers", "transformers", "safetensors", "accelerate", "pillow")


class Version(BaseModel):
    """The program's version, in SD.Next's fields."""

    app: str
    updated: str
    commit: str
    branch: str = ""
    url: str = ""
    server: str = f"Safelight {__version__}"


class MemoryBytes(BaseModel):
    """Memory of the machine, in bytes."""

    free: int
    used: int
    total: int


class CudaUnavailable(BaseModel):
    """The reason why no GPU memory is reported."""

    error: str = "This process uses no GPU; GET /v1/system lists the workers with their devices."


class Memory(BaseModel):
    """The machine's memory."""

    ram: MemoryBytes
    cuda: CudaUnavailable = CudaUnavailable()


class CommandLineFlags(BaseModel):
    """The command line in A1111's fields; it holds no secrets."""

    api: bool = True
    listen: bool = Field(description="Whether other machines can reach the server.")
    port: int
    ckpt: str
    no_half: bool
    lowvram: bool = False
    medvram: bool = False
    share: bool = False
    disable_safe_unpickle: bool = False


class SystemInfo(BaseModel):
    """Information about the server in SD.Next's second version."""

    version: Version
    platform: dict[str, str | None]
    memory: Memory


class HistoryItem(BaseModel):
    """A finished job, in SD.Next's fields."""

    id: str
    job: str
    op: str
    timestamp: datetime
    duration: float | None = Field(description="Seconds of work.")
    outputs: list[str] = Field(description="Addresses of its pictures.")


@router.get("/v1/version", operation_id="sdnext_version", summary="Get the program's version")
async def version() -> Version:
    """Safelight's version, in SD.Next's fields."""
    return _version("safelight")


@router.get("/v2/system-info", operation_id="sdnext_system_info", summary="Get information about the server")
async def system_info() -> SystemInfo:
    """Versions and memory. ``version.app`` names the API, ``version.server`` the program that implements it."""
    machine = {"arch": platform.machine(), "system": platform.system(), "python": platform.python_version()}
    libraries = await asyncio.to_thread(lambda: {name: package_version(name) for name in LIBRARIES})
    return SystemInfo(version=_version(API_NAME), platform=machine | libraries, memory=_memory_usage())


@router.get("/v1/memory", operation_id="a1111_memory", summary="Get the memory of the machine")
async def memory() -> Memory:
    """The machine's memory; /v1/system has that of each worker."""
    return _memory_usage()


@router.get("/v1/cmd-flags", operation_id="a1111_cmd_flags", summary="Get the command line flags")
async def cmd_flags(app_state: CurrentAppState) -> CommandLineFlags:
    """How the server was started, as far as A1111 has flags for it."""
    settings = app_state.service.settings
    return CommandLineFlags(
        listen=settings.host not in ("127.0.0.1", "::1", "localhost"),
        port=settings.port,
        ckpt=default_checkpoint_name(settings),
        no_half=settings.generation_precision == "fp32",
    )


@router.get("/v1/history", operation_id="sdnext_history", summary="List your finished jobs")
async def history(
    app_state: CurrentAppState,
    principal: CurrentPrincipal,
    id: Annotated[str | None, Query(max_length=100, description="Only this job.")] = None,  # noqa: A002
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[HistoryItem]:
    """The user's finished jobs, newest first."""
    store = app_state.service.store
    if id is not None:
        jobs = await asyncio.to_thread(_finished_job, store, principal.owner, id)
    else:
        jobs = await asyncio.to_thread(_newest_finished, store, principal.owner, limit)
    made = await asyncio.to_thread(app_state.service.gallery.file_ids_by_job, [job.id for job in jobs])
    return [_history_item(job, made.get(job.id, ())) for job in jobs]


@router.get(
    "/v1/log",
    operation_id="sdnext_log",
    summary="Read the audit log",
    dependencies=[Depends(current_admin)],
)
async def log(
    app_state: CurrentAppState,
    lines: Annotated[int, Query(ge=1, le=1000, description="The number of lines.")] = 100,
) -> list[str]:
    """The last lines of the audit log, for administrators."""
    return await asyncio.to_thread(_last_lines, app_state.audit_log.path, lines)


@router.post(
    "/v1/refresh-checkpoints", operation_id="a1111_refresh_checkpoints", summary="Refresh the checkpoints"
)
@router.post("/v1/refresh-loras", operation_id="a1111_refresh_loras", summary="Refresh the adapters")
@router.post(
    "/v1/refresh-embeddings",
    operation_id="a1111_refresh_embeddings",
    summary="Refresh the textual inversions",
)
@router.post("/v1/refresh-vae", operation_id="a1111_refresh_vae", summary="Refresh the autoencoders")
@router.post("/v1/reload-checkpoint", operation_id="a1111_reload_checkpoint", summary="Reload the checkpoint")
async def nothing_to_refresh() -> dict[str, str]:
    """Do nothing: lists are read from disk each time, and workers notice when a checkpoint's files change."""
    return {}


@router.post(
    "/v1/unload-checkpoint",
    operation_id="a1111_unload_checkpoint",
    summary="Free the workers' memory",
    dependencies=[Depends(current_admin)],
)
async def unload_checkpoint(app_state: CurrentAppState) -> dict[str, str]:
    """Have workers unload the checkpoints that no job uses, within a second or two; for administrators.

    A job that needs one loads it again.
    """
    await asyncio.to_thread(app_state.service.request_unload)
    app_state.audit_log.write("checkpoint.unload", checkpoint=None)
    return {}


def _finished_job(store: JobStore, owner: str, job_id: str) -> list[Job]:
    """An owner's job, if it made images and has ended."""
    with suppress(JobMissingError):
        job = store.get(job_id, owner)
        return [job] if job.kind in IMAGE_JOB_KINDS and job.state.final else []
    return []


def _newest_finished(store: JobStore, owner: str, limit: int) -> list[Job]:
    """An owner's newest finished jobs that made images."""
    final = [state for state in JobState if state.final]
    found = [
        job for kind in IMAGE_JOB_KINDS for job in store.find(owner, states=final, kind=kind, limit=limit)
    ]
    return sorted(found, key=lambda job: job.id, reverse=True)[:limit]


def _last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a text file; none where the file does not exist."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count * MAX_LINE_BYTES))
        return file.read().decode("utf-8", "replace").splitlines()[-count:]


def _version(app: str) -> Version:
    return Version(app=app, updated=__version__, commit=__version__)


def _memory_usage() -> Memory:
    found = psutil.virtual_memory()
    return Memory(
        ram=MemoryBytes(free=found.available, used=found.total - found.available, total=found.total)
    )


def _history_item(job: Job, made: Sequence[str]) -> HistoryItem:
    took = (job.ended - job.started).total_seconds() if job.ended and job.started else None
    return HistoryItem(
        id=job.id,
        job=job.kind,
        op=job.state.value,
        timestamp=job.created,
        duration=took,
        outputs=[f"/v1/gallery/{name}/file" for name in made],
    )
