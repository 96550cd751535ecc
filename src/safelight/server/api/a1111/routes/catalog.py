"""Lists of samplers, upscalers, checkpoints and more, under A1111's and SD.Next's paths."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from safelight.generation.prompts.styles import load_styles
from safelight.generation.solvers.registry import SAMPLERS
from safelight.generation.upscaling.registry import find_upscalers
from safelight.models.checkpoints.discovery import parts_index
from safelight.server.api.a1111.samplers import sampler_row, scheduler_rows
from safelight.server.api.adapter_lists import ListedAdapter, listed_adapters
from safelight.server.api.checkpoint_names import ListedCheckpoint, list_checkpoints, select_checkpoint
from safelight.server.api.upscaler_names import LATENT, upscaler_rows
from safelight.server.core.app_state import CurrentAppState
from safelight.server.security.dependencies import CurrentPrincipal, Role
from safelight.settings import Settings

router = APIRouter(prefix="/sdapi", tags=["A1111"])

EMPTY_LISTS = (
    "hypernetworks",
    "face-restorers",
    "detailers",
    "realesrgan-models",
    "extensions",
    "script-info",
    "artists",
    "artist-categories",
)
"""Lists of things that Safelight does not have: clients request them and accept an empty answer."""


class SamplerItem(BaseModel):
    """A sampler."""

    name: str
    aliases: list[str]
    options: dict[str, str] = Field(
        description="scheduler: its default schedule, where that is not the checkpoint's."
    )


class SchedulerItem(BaseModel):
    """A sigma schedule."""

    name: str
    label: str
    aliases: list[str]
    default_rho: float
    need_inner_model: bool


class UpscalerItem(BaseModel):
    """An upscaler, without the path of its weights."""

    name: str
    model_name: str | None
    model_path: str | None
    model_url: str | None
    scale: float | None


class NamedItem(BaseModel):
    """A name."""

    name: str


class StyleItem(BaseModel):
    """A prompt style."""

    name: str
    prompt: str
    negative_prompt: str


class ModelItem(BaseModel):
    """A checkpoint, in the fields of A1111 and SD.Next."""

    title: str
    model_name: str
    filename: str = Field(description="Its path for administrators, its file name for others.")
    hash: str | None = Field(
        description="Ten hexadecimal digits; null until a worker has computed the digest."
    )
    sha256: str | None
    config: str | None = None
    type: str = Field(description="Its family.")


class DatedModel(ModelItem):
    """A checkpoint with its size and modification time."""

    size: int = Field(description="Bytes of weights.")
    mtime: datetime


class PartItem(BaseModel):
    """An autoencoder or text encoder in a file of its own."""

    model_name: str
    filename: str = Field(description="Its path for administrators, its file name for others.")


class ModelItems(BaseModel):
    """SD.Next's page of checkpoints, which always holds all of them."""

    items: list[DatedModel]
    total: int
    offset: int = 0
    limit: int = 0


class LoraItem(BaseModel):
    """A LoRA or another adapter, in A1111's fields."""

    name: str
    alias: str = Field(description="The name that its trainer gave it; its own where there is none.")
    path: str = Field(description="Its path for administrators, its file name for others.")
    metadata: dict[str, Any] = Field(description="What its trainer wrote into it.")


class EmbeddingItem(BaseModel):
    """A textual inversion, in A1111's fields."""

    step: int | None = None
    sd_checkpoint: str | None = None
    sd_checkpoint_name: str | None = None
    shape: int = Field(description="The width of its vectors.")
    vectors: int = Field(description="How many tokens it takes in a prompt.")


class Embeddings(BaseModel):
    """Textual inversions by name."""

    loaded: dict[str, EmbeddingItem] = Field(description="Those for the server's default checkpoint.")
    skipped: dict[str, EmbeddingItem] = Field(description="Those for checkpoints of other families.")


class EmbeddingItems(BaseModel):
    """Textual inversions in SD.Next's second version."""

    loaded: list[NamedItem] = Field(description="Those for the server's default checkpoint.")
    skipped: list[NamedItem] = Field(description="Those for checkpoints of other families.")


class Scripts(BaseModel):
    """Scripts: none."""

    txt2img: list[str] = []
    img2img: list[str] = []
    control: list[str] = []


@router.get("/v1/samplers", operation_id="a1111_samplers", summary="List samplers")
async def samplers() -> list[SamplerItem]:
    """All samplers; those whose names end with FlowMatch or EDM fit checkpoints of that kind only."""
    return [SamplerItem.model_validate(sampler_row(sampler)) for sampler in SAMPLERS.values()]


@router.get("/v1/schedulers", operation_id="a1111_schedulers", summary="List sigma schedules")
async def schedulers() -> list[SchedulerItem]:
    """All sigma schedules."""
    return [SchedulerItem.model_validate(row) for row in scheduler_rows()]


@router.get("/v1/upscalers", operation_id="a1111_upscalers", summary="List upscalers")
async def upscalers(app_state: CurrentAppState) -> list[UpscalerItem]:
    """All upscalers, and None."""
    found = await asyncio.to_thread(find_upscalers, app_state.service.settings.home)
    return [UpscalerItem.model_validate(row) for row in upscaler_rows(found)]


@router.get(
    "/v1/latent-upscale-modes",
    operation_id="a1111_latent_upscale_modes",
    summary="List latent upscaling modes",
)
async def latent_upscale_modes() -> list[NamedItem]:
    """Bilinear, under A1111's name."""
    return [NamedItem(name=LATENT)]


@router.get("/v1/prompt-styles", operation_id="a1111_prompt_styles", summary="List prompt styles")
async def prompt_styles(app_state: CurrentAppState) -> list[StyleItem]:
    """Named texts that are put around a prompt."""
    styles = await asyncio.to_thread(load_styles, app_state.service.settings.home / "styles")
    return [
        StyleItem(name=style.name, prompt=style.prompt, negative_prompt=style.negative_prompt)
        for style in styles.values()
    ]


@router.get("/v1/sd-models", operation_id="a1111_sd_models", summary="List checkpoints")
async def sd_models(app_state: CurrentAppState, principal: CurrentPrincipal) -> list[ModelItem]:
    """All checkpoints that a request may name."""
    found = await asyncio.to_thread(list_checkpoints, app_state.service.settings)
    return [ModelItem.model_validate(_model_fields(each, principal.role)) for each in found]


@router.get("/v2/sd-models", operation_id="sdnext_sd_models", summary="List checkpoints")
async def sd_model_items(app_state: CurrentAppState, principal: CurrentPrincipal) -> ModelItems:
    """The same with sizes and modification times."""
    found = await asyncio.to_thread(list_checkpoints, app_state.service.settings)
    items = [DatedModel.model_validate(_model_fields(each, principal.role)) for each in found]
    return ModelItems(items=items, total=len(items), limit=len(items))


@router.get("/v1/loras", operation_id="a1111_loras", summary="List LoRAs")
async def loras(app_state: CurrentAppState, principal: CurrentPrincipal) -> list[LoraItem]:
    """The LoRAs and other adapters, as ``<lora:name:1>`` in a prompt names them."""
    found = await asyncio.to_thread(listed_adapters, app_state.service.settings, "LoRA")
    return [
        LoraItem(
            name=each.named.name,
            alias=each.named.alias or each.named.name,
            path=str(each.named.path) if principal.role is Role.ADMIN else each.named.path.name,
            metadata=dict(each.metadata),
        )
        for each in found
    ]


@router.get("/v1/embeddings", operation_id="a1111_embeddings", summary="List textual inversions")
async def embeddings(app_state: CurrentAppState) -> Embeddings:
    """The textual inversions, as prompts name them: those for the default checkpoint, and the others."""
    loaded, skipped = await asyncio.to_thread(_embeddings_by_use, app_state.service.settings)
    return Embeddings(
        loaded={each.named.name: _embedding_item(each) for each in loaded},
        skipped={each.named.name: _embedding_item(each) for each in skipped},
    )


@router.get("/v2/embeddings", operation_id="sdnext_embeddings", summary="List textual inversions")
async def embedding_items(app_state: CurrentAppState) -> EmbeddingItems:
    """The names of the textual inversions."""
    loaded, skipped = await asyncio.to_thread(_embeddings_by_use, app_state.service.settings)
    return EmbeddingItems(
        loaded=[NamedItem(name=each.named.name) for each in loaded],
        skipped=[NamedItem(name=each.named.name) for each in skipped],
    )


@router.get("/v1/scripts", operation_id="a1111_scripts", summary="List scripts")
async def scripts() -> Scripts:
    """There are none."""
    return Scripts()


def _embeddings_by_use(settings: Settings) -> tuple[list[ListedAdapter], list[ListedAdapter]]:
    """The textual inversions that may be for the default checkpoint's family, and the others."""
    family = select_checkpoint(None, settings).family
    found = listed_adapters(settings, "embedding")
    fits = [family is None or each.description.families in ((), (family.key,)) for each in found]
    pairs = list(zip(found, fits, strict=True))
    return [each for each, is_for in pairs if is_for], [each for each, is_for in pairs if not is_for]


def _embedding_item(adapter: ListedAdapter) -> EmbeddingItem:
    return EmbeddingItem(shape=adapter.width, vectors=adapter.description.rank or 1)


def _model_fields(each: ListedCheckpoint, role: Role) -> dict[str, Any]:
    path, digest = each.checkpoint.path, each.digest
    return {
        "title": each.title,
        "model_name": each.name,
        "filename": str(path) if role is Role.ADMIN else path.name,
        "hash": digest and digest[:10],
        "sha256": digest,
        "type": each.checkpoint.family.title,
        "size": each.checkpoint.size,
        "mtime": datetime.fromtimestamp(each.checkpoint.modified / 1e9, UTC),
    }


async def empty_list() -> Sequence[NamedItem]:
    """An empty list: Safelight has none."""
    return []


@router.get("/v1/sd-vae", operation_id="a1111_sd_vae", summary="List autoencoders")
async def sd_vae(app_state: CurrentAppState, principal: CurrentPrincipal) -> list[PartItem]:
    """The autoencoders in files of their own, which the option sd_vae takes."""
    return await asyncio.to_thread(_list_parts, app_state.service.settings, principal.role, {"vae"})


@router.get("/v1/sd-modules", operation_id="forge_sd_modules", summary="List autoencoders and text encoders")
async def sd_modules(app_state: CurrentAppState, principal: CurrentPrincipal) -> list[PartItem]:
    """The autoencoders and text encoders in files of their own, which forge_additional_modules takes."""
    return await asyncio.to_thread(
        _list_parts, app_state.service.settings, principal.role, {"vae", "text encoder"}
    )


def _list_parts(settings: Settings, role: Role, roles: Collection[str]) -> list[PartItem]:
    found = parts_index(settings.home, settings.current_model_folders).candidates
    paths = dict.fromkeys(each.path for each in found if each.section.role in roles)
    admin = role is Role.ADMIN
    return [PartItem(model_name=path.name, filename=str(path) if admin else path.name) for path in paths]


for _name in EMPTY_LISTS:
    router.add_api_route(
        f"/v1/{_name}",
        empty_list,
        operation_id=f"a1111_{_name.replace('-', '_')}",
        summary=f"List {_name.replace('-', ' ')}: none",
    )
