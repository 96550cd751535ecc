"""Tell what a weights file is from its header: its kind, its family, its components; no weights are read.

Kinds and families are recognized by names and shapes of tensors, never by the file's name or folder: those of the
original Stable Diffusion code, of diffusers, of kohya's trainer, of ComfyUI and of the authors of the transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from safelight.models.adapters.layer_keys import LayerKeys, group_keys, may_change_layers, split_key
from safelight.models.checkpoints.layouts.image_encoders import describe_image_encoder
from safelight.models.checkpoints.safetensors_header import Header, TensorEntry
from safelight.models.controls.architectures import ARCHITECTURES, LORA_MARKER, recognise

Kind = Literal[
    "checkpoint",
    "denoiser",
    "autoencoder",
    "text encoder",
    "LoRA",
    "embedding",
    "ControlNet",
    "IP-Adapter",
    "image encoder",
    "upscaler",
    "classifier",
    "unknown",
]
"""What a file is for. A checkpoint has a denoiser and more; a denoiser is a U-Net or a transformer alone."""

Tensors = Mapping[str, TensorEntry]

_WRAPPERS = ("model.diffusion_model.", "diffusion_model.", "net.")
"""Prefixes of a denoiser's keys in checkpoints and in ComfyUI's files; taken off before a family is looked up."""

_TRANSFORMERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # a family, and keys of which a file of it has at least one; the first match counts
    ("hunyuan-image", ("context_embedder_2.linear_3.weight", "byt5_in.fc3.weight")),
    ("chroma", ("distilled_guidance_layer.in_proj.weight", "distilled_guidance_layer.in_proj.bias")),
    ("flux2", ("single_stream_modulation.lin.weight", "single_stream_modulation.linear.weight")),
    ("flux", ("double_blocks.0.img_attn.norm.key_norm.scale", "single_transformer_blocks.0.proj_mlp.weight")),
    ("qwen-image", ("transformer_blocks.0.img_mod.1.weight",)),
    ("sd3", ("joint_blocks.0.context_block.adaLN_modulation.1.bias", "transformer_blocks.0.attn.add_k_proj.weight")),
    ("z-image", ("layers.0.adaLN_modulation.0.weight",)),
    ("lumina2", ("cap_embedder.0.weight", "time_caption_embed.caption_embedder.0.weight")),
    ("auraflow", ("double_layers.0.attn.w2q.weight", "joint_transformer_blocks.0.attn.to_q.weight")),
    ("sana-sprint", ("time_embed.guidance_embedder.linear_1.weight",)),
    ("sana", ("blocks.0.cross_attn.q_linear.weight", "transformer_blocks.0.ff.conv_inverted.weight")),
    ("hunyuan-dit", ("blocks.0.default_modulation.1.weight", "blocks.0.norm1.linear.weight")),
    ("cogview4", ("time_condition_embed.condition_embedder.linear_1.weight",)),
    ("pixart", ("adaln_single.linear.weight", "t_block.1.weight")),
    ("hidream", ("double_stream_blocks.0.block.adaLN_modulation.1.bias",)),
    ("krea2", ("txtfusion.projector.weight", "text_fusion.projector.weight")),
    ("ernie-image", ("layers.0.adaLN_sa_ln.weight",)),
    ("kandinsky5", ("visual_embeddings.in_layer.weight",)),
    ("qwen-image-21", ("txt_in.text_norm.weight",)),
    ("wan", ("head.modulation",)),
    ("hunyuan-video", ("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias",)),
    ("ltx-video", ("patchify_proj.weight",)),
)  # fmt: skip
"""Transformers by the keys of the authors' files and of diffusers' folders."""

_CONTEXTS = {768: "sd1", 1024: "sd2", 2048: "sdxl", 1280: "sdxl-refiner"}
"""U-Nets by the width of the text embeddings that their cross-attention reads."""
_EMBEDDINGS = {768: "sd1", 1024: "sd2", 1280: "sdxl"}
"""Textual inversions by the width of their vectors."""

_LORA_MODULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # sd1 has one transformer block in each place
    ("sdxl", ("attentions_0_transformer_blocks_1_", "_1_transformer_blocks_1_")),
    ("flux2", ("single_stream_modulation", "double_stream_modulation", "_attn_to_qkv_mlp_proj")),
    ("chroma", ("distilled_guidance_layer_",)),
    ("hunyuan-image", ("txt_in_individual_token_refiner_", "context_embedder_token_refiner_", "_linear2_fc")),
    ("hidream", ("double_stream_blocks_", "single_stream_blocks_")),
    ("auraflow", ("double_layers_", "joint_transformer_blocks_")),
    ("flux", ("double_blocks_", "single_blocks_", "single_transformer_blocks_")),
    ("sd3", ("joint_blocks_",)),
    ("qwen-image", ("img_mlp_net_", "img_mod_1_")),
    ("z-image", ("_attention_to_q", "_adaLN_modulation_0")),
    ("kandinsky5", ("visual_transformer_blocks_",)),
    ("sana", ("_mlp_inverted_conv", "_ff_conv_inverted")),
    ("krea2", ("txtfusion_", "text_fusion_")),
    ("hunyuan-dit", ("_attn1_Wqkv", "_default_modulation_1")),
    ("sdxl", ("lora_te2_",)),
)
"""Adapters by parts of the names of the modules that they change, with underscores for dots."""


@dataclass(frozen=True)
class Component:
    """A part of a file.

    Args:
        name: Its name: unet, transformer, vae, text_encoder …
        tensors: The number of its tensors.
        elements: The number of its weights.
        size: Its bytes.
    """

    name: str
    tensors: int
    elements: int
    size: int

    def to_dict(self) -> dict[str, object]:
        """The component for JSON output."""
        return {"name": self.name, "tensors": self.tensors, "elements": self.elements, "size": self.size}


@dataclass(frozen=True)
class FileKind:
    """What a weights file is.

    Args:
        kind: What it is for.
        family: The family it belongs to, by its key in ``families.FAMILIES`` or by the name of one that Safelight
            does not have; None where the file does not say.
        tensors: Its tensors.
    """

    kind: Kind
    family: str | None
    tensors: Tensors = field(repr=False)

    @property
    def components(self) -> tuple[Component, ...]:
        """Its parts."""
        return _components(self.tensors, self.kind)


def identify(header: Header) -> FileKind:
    """Tell what a file is, from its header."""
    return header.derive(_identify)


def _identify(tensors: Tensors) -> FileKind:
    for kind, detect in _DETECTORS:
        found = detect(tensors)
        if found is not None:
            return FileKind(kind, found or None, tensors)
    return FileKind("unknown", None, tensors)


def _lora(tensors: Tensors) -> str | None:
    """The family of an adapter; "" where it is not known; None for other files."""
    if LORA_MARKER in tensors or not may_change_layers(tensors):
        return None
    layers, _ = group_keys(tensors)
    if not any(keys.kind for keys in layers.values()):
        return None
    if family := _lora_context(layers, tensors):
        return family
    keys = "\n".join(tensors).replace(".", "_")
    return next((family for family, parts in _LORA_MODULES if any(part in keys for part in parts)), "")


def _lora_context(layers: Mapping[str, LayerKeys], tensors: Tensors) -> str | None:
    """A U-Net's family, by the width of the text embeddings that a changed layer reads."""
    for name, keys in layers.items():
        flat = name.replace(".", "_")
        within = "transformer_blocks_" in flat or "blocks_" not in flat  # Hunyuan-DiT's are not
        if not (flat.endswith("attn2_to_k") and within):
            continue
        for part in ("down", "w1_b", "diff"):
            if part in keys.parts and len(shape := tensors[keys.parts[part]].shape) >= 2:
                return _CONTEXTS.get(shape[1])
    return None


def _embedding(tensors: Tensors) -> str | None:
    """A textual inversion: a few vectors and nothing else."""
    if set(tensors) in ({"clip_l", "clip_g"}, {"text_encoders_0", "text_encoders_1"}):
        return "sdxl"
    if len(tensors) != 1:
        return None
    (vectors,) = tensors.values()
    if len(vectors.shape) > 2 or vectors.elements > 1_000_000:
        return None
    family = _EMBEDDINGS.get(vectors.shape[-1] if vectors.shape else 0)
    return "" if family is None and "emb_params" in tensors else family


def _control(tensors: Tensors) -> str | None:
    if (found := recognise(tensors)) is not None:
        return None if ARCHITECTURES[found.architecture].is_ip_adapter else found.family
    signs = (
        "control_model.",
        "controlnet_cond_embedding.",
        "input_hint_block.",
        "controlnet_blocks.",
        "zero_convs.",
    )
    if not any(key.startswith(signs) or ".controlnet_cond_embedding." in key for key in tensors):
        return None
    bare = {key.removeprefix("control_model."): value for key, value in tensors.items()}
    return _transformer(bare) or _context_family(bare, ("attn2.to_k.weight",)) or ""


def _ip_adapter(tensors: Tensors) -> str | None:
    if (found := recognise(tensors)) is not None:
        return found.family if ARCHITECTURES[found.architecture].is_ip_adapter else None
    if not any(key.startswith(("image_proj.", "ip_adapter.")) for key in tensors):
        return None
    return _context_family(tensors, ("to_k_ip.weight",)) or ""


def _checkpoint(tensors: Tensors) -> str | None:
    """A denoiser together with an autoencoder or a text encoder."""
    others = ("first_stage_model.", "cond_stage_model.", "conditioner.", "text_encoders.", "vae.")
    if not any(key.startswith(others) for key in tensors):
        return None
    return _denoiser(tensors)


def _denoiser(tensors: Tensors) -> str | None:
    bare = {_unwrap(key): value for key, value in tensors.items()}
    if family := _transformer(bare):
        return family
    if "encoder_hid_proj.weight" in bare:  # it projects ChatGLM's embeddings to those of SDXL
        return "kolors"
    if "input_blocks.0.0.weight" in bare or {"down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"} <= set(
        bare
    ):
        return _context_family(bare, ("attn2.to_k.weight",)) or ""
    return None


def _transformer(bare: Tensors) -> str | None:
    return next((family for family, keys in _TRANSFORMERS if any(key in bare for key in keys)), None)


def _context_family(tensors: Tensors, suffixes: tuple[str, ...]) -> str | None:
    """A U-Net's family, by the width of the text embeddings that one of its keys reads."""
    for key, tensor in tensors.items():
        if any(suffix in key for suffix in suffixes) and len(tensor.shape) >= 2:
            return _CONTEXTS.get(tensor.shape[1])
    return None


def _autoencoder(tensors: Tensors) -> str | None:
    bare = {
        key.removeprefix("first_stage_model.").removeprefix("vae."): value for key, value in tensors.items()
    }
    first = bare.get("decoder.conv_in.weight")
    if first is None or len(first.shape) < 4:
        return "" if "decoder.layers.0.weight" in bare or "decoder.1.weight" in bare else None  # TAESD
    return ""  # several families share each of them


def _image_encoder(tensors: Tensors) -> str | None:
    """An image encoder alone; a whole CLIP is a text encoder too."""
    alone = not any(key.startswith("text_model.") for key in tensors)
    return (
        ""
        if alone and describe_image_encoder({key: entry.shape for key, entry in tensors.items()}) is not None
        else None
    )


def _text_encoder(tensors: Tensors) -> str | None:
    signs = (
        "text_model.embeddings.token_embedding.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "layers.0.self_attn.q_proj.weight",
        ".word_embeddings.weight",
        "token_embedding.weight",
        "transformer.resblocks.0.attn.in_proj_weight",
    )
    return "" if any(key.endswith(signs) for key in tensors) else None


def _upscaler(tensors: Tensors) -> str | None:
    """Networks that spandrel reads: ESRGAN and its kin, SwinIR, HAT, DAT, SPAN, Compact."""
    signs = (
        "conv_first.weight",
        "model.0.weight",
        "body.0.rdb1.conv1.weight",
        "layers.0.residual_group.blocks.0.norm1.weight",
        "conv_1.sk.weight",
        "body.0.weight",
    )
    return "" if any(key in tensors for key in signs) else None


def _classifier(tensors: Tensors) -> str | None:
    vit = "patch_embed.proj.weight" in tensors and "head.weight" in tensors
    return "" if vit or {"conv_stem.weight", "classifier.weight"} <= set(tensors) else None


_DETECTORS: tuple[tuple[Kind, Callable[[Tensors], str | None]], ...] = (
    ("LoRA", _lora),
    ("ControlNet", _control),
    ("IP-Adapter", _ip_adapter),
    ("checkpoint", _checkpoint),
    ("denoiser", _denoiser),
    ("embedding", _embedding),
    ("autoencoder", _autoencoder),
    ("image encoder", _image_encoder),
    ("text encoder", _text_encoder),
    ("classifier", _classifier),
    ("upscaler", _upscaler),
)
"""In this order: an adapter repeats its network's names, and a checkpoint holds all the others."""


def _unwrap(key: str) -> str:
    for prefix in _WRAPPERS:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


_PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("vae", ("first_stage_model.", "vae.")),
    (
        "text_encoder_2",
        ("conditioner.embedders.1.", "text_encoders.clip_g.", "lora_te2_", "text_encoder_2.", "clip_g."),
    ),
    ("text_encoder_3", ("text_encoders.t5xxl.", "lora_te3_", "text_encoder_3.", "t5xxl.")),
    (
        "text_encoder",
        (
            "cond_stage_model.",
            "conditioner.embedders.0.",
            "text_encoders.",
            "text_encoder.",
            "lora_te",
            "clip_l.",
        ),
    ),
    (
        "denoiser",
        (
            *_WRAPPERS,
            "lora_unet_",
            "unet.",
            "transformer.",
            "lora_transformer_",
            "lycoris_",
            "base_model.model.",
        ),
    ),
)
"""A file's parts by the beginnings of their keys."""


def _components(tensors: Tensors, kind: Kind) -> tuple[Component, ...]:
    """The parts of a checkpoint or an adapter; other files are one part."""
    parts: dict[str, list[TensorEntry]] = {}
    for key, tensor in tensors.items():
        name = next((part for part, prefixes in _PARTS if key.startswith(prefixes)), None)
        if kind not in ("checkpoint", "LoRA"):
            name = kind
        if kind == "LoRA" and name is None and split_key(key):
            name = "denoiser"  # without a prefix
        parts.setdefault(name or "other", []).append(tensor)
    return tuple(summarize(name, group) for name, group in sorted(parts.items()))


def summarize(name: str, tensors: Sequence[TensorEntry]) -> Component:
    """A component of these tensors."""
    elements, size = sum(each.elements for each in tensors), sum(each.nbytes for each in tensors)
    return Component(name, len(tensors), elements, size)
