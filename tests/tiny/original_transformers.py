"""The authors' layouts of transformers and autoencoders: diffusers' tensors under the names of original files.

Written from the authors' module trees as tables from diffusers' names to theirs; where theirs have one tensor for
several of diffusers', those are concatenated.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

Tensors = dict[str, torch.Tensor]
Table = tuple[tuple[str, str], ...]


def rename(tensors: Tensors, table: Table) -> Tensors:
    """Rename by the first pattern that matches the whole name; every tensor must have one."""
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, target in table:
            if re.fullmatch(pattern, name):
                renamed[re.sub(pattern, target, name)] = tensor
                break
        else:
            raise AssertionError(f"no rule for {name}")
    return renamed


def fuse(tensors: Tensors, target: str, *parts: str) -> Tensors:
    """Concatenate tensors whose names differ in one part; ``target`` and ``parts`` are without a leading dot."""
    fused: Tensors = {}
    pattern = re.compile(r"(.*?)(" + "|".join(re.escape(part) for part in parts) + r")\.(weight|bias)$")
    groups: dict[tuple[str, str], Tensors] = {}
    for name, tensor in tensors.items():
        if found := pattern.match(name):
            groups.setdefault((found[1], found[3]), {})[found[2]] = tensor
        else:
            fused[name] = tensor
    for (prefix, kind), group in groups.items():
        fused[f"{prefix}{target}.{kind}"] = torch.cat([group[part] for part in parts])
    return fused


def swap(tensor: torch.Tensor) -> torch.Tensor:
    """Scale and shift change places."""
    first, second = tensor.chunk(2)
    return torch.cat([second, first])


_FLUX_BLOCKS: Table = (
    (r"transformer_blocks\.(\d+)\.norm1\.linear\.(.*)", r"double_blocks.\1.img_mod.lin.\2"),
    (r"transformer_blocks\.(\d+)\.norm1_context\.linear\.(.*)", r"double_blocks.\1.txt_mod.lin.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.img_qkv\.(.*)", r"double_blocks.\1.img_attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.txt_qkv\.(.*)", r"double_blocks.\1.txt_attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"double_blocks.\1.img_attn.norm.query_norm.scale"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"double_blocks.\1.img_attn.norm.key_norm.scale"),
    (
        r"transformer_blocks\.(\d+)\.attn\.norm_added_q\.weight",
        r"double_blocks.\1.txt_attn.norm.query_norm.scale",
    ),
    (
        r"transformer_blocks\.(\d+)\.attn\.norm_added_k\.weight",
        r"double_blocks.\1.txt_attn.norm.key_norm.scale",
    ),
    (r"transformer_blocks\.(\d+)\.attn\.to_out\.0\.(.*)", r"double_blocks.\1.img_attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.to_add_out\.(.*)", r"double_blocks.\1.txt_attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.(.*)", r"double_blocks.\1.img_mlp.0.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.2\.(.*)", r"double_blocks.\1.img_mlp.2.\2"),
    (r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj\.(.*)", r"double_blocks.\1.txt_mlp.0.\2"),
    (r"transformer_blocks\.(\d+)\.ff_context\.net\.2\.(.*)", r"double_blocks.\1.txt_mlp.2.\2"),
    (r"single_transformer_blocks\.(\d+)\.norm\.linear\.(.*)", r"single_blocks.\1.modulation.lin.\2"),
    (r"single_transformer_blocks\.(\d+)\.linear1\.(.*)", r"single_blocks.\1.linear1.\2"),
    (r"single_transformer_blocks\.(\d+)\.proj_out\.(.*)", r"single_blocks.\1.linear2.\2"),
    (r"single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
    (r"single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
    (r"context_embedder\.(.*)", r"txt_in.\1"),
    (r"x_embedder\.(.*)", r"img_in.\1"),
    (r"proj_out\.(.*)", r"final_layer.linear.\1"),
    (r"norm_out\.linear\.(.*)", r"final_layer.adaLN_modulation.1.\1"),
)
_FLUX: Table = (
    *_FLUX_BLOCKS,
    (r"time_text_embed\.timestep_embedder\.linear_1\.(.*)", r"time_in.in_layer.\1"),
    (r"time_text_embed\.timestep_embedder\.linear_2\.(.*)", r"time_in.out_layer.\1"),
    (r"time_text_embed\.text_embedder\.linear_1\.(.*)", r"vector_in.in_layer.\1"),
    (r"time_text_embed\.text_embedder\.linear_2\.(.*)", r"vector_in.out_layer.\1"),
    (r"time_text_embed\.guidance_embedder\.linear_1\.(.*)", r"guidance_in.in_layer.\1"),
    (r"time_text_embed\.guidance_embedder\.linear_2\.(.*)", r"guidance_in.out_layer.\1"),
)
_CHROMA: Table = (
    *_FLUX_BLOCKS,
    (
        r"distilled_guidance_layer\.layers\.(\d+)\.linear_1\.(.*)",
        r"distilled_guidance_layer.layers.\1.in_layer.\2",
    ),
    (
        r"distilled_guidance_layer\.layers\.(\d+)\.linear_2\.(.*)",
        r"distilled_guidance_layer.layers.\1.out_layer.\2",
    ),
    (r"distilled_guidance_layer\.norms\.(\d+)\.weight", r"distilled_guidance_layer.norms.\1.scale"),
    (r"(distilled_guidance_layer\..*)", r"\1"),
)


def _swap_norm_out(tensors: Tensors) -> Tensors:
    return {
        name: swap(each) if name.startswith("norm_out.linear.") else each for name, each in tensors.items()
    }


def _flux_like(table: Table) -> Callable[[Tensors], Tensors]:
    def convert(tensors: Tensors) -> Tensors:
        tensors = _swap_norm_out(tensors)
        double = {name: each for name, each in tensors.items() if not name.startswith("single_")}
        single = {name: each for name, each in tensors.items() if name.startswith("single_")}
        double = fuse(double, "attn.img_qkv", "attn.to_q", "attn.to_k", "attn.to_v")
        double = fuse(double, "attn.txt_qkv", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
        single = fuse(single, "linear1", "attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        return rename(double | single, table)

    return convert


_FLUX2: Table = (
    (r"transformer_blocks\.(\d+)\.attn\.img_qkv\.(.*)", r"double_blocks.\1.img_attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.txt_qkv\.(.*)", r"double_blocks.\1.txt_attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"double_blocks.\1.img_attn.norm.query_norm.scale"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"double_blocks.\1.img_attn.norm.key_norm.scale"),
    (
        r"transformer_blocks\.(\d+)\.attn\.norm_added_q\.weight",
        r"double_blocks.\1.txt_attn.norm.query_norm.scale",
    ),
    (
        r"transformer_blocks\.(\d+)\.attn\.norm_added_k\.weight",
        r"double_blocks.\1.txt_attn.norm.key_norm.scale",
    ),
    (r"transformer_blocks\.(\d+)\.attn\.to_out\.0\.(.*)", r"double_blocks.\1.img_attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.to_add_out\.(.*)", r"double_blocks.\1.txt_attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.linear_in\.(.*)", r"double_blocks.\1.img_mlp.0.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.linear_out\.(.*)", r"double_blocks.\1.img_mlp.2.\2"),
    (r"transformer_blocks\.(\d+)\.ff_context\.linear_in\.(.*)", r"double_blocks.\1.txt_mlp.0.\2"),
    (r"transformer_blocks\.(\d+)\.ff_context\.linear_out\.(.*)", r"double_blocks.\1.txt_mlp.2.\2"),
    (r"single_transformer_blocks\.(\d+)\.attn\.to_qkv_mlp_proj\.(.*)", r"single_blocks.\1.linear1.\2"),
    (r"single_transformer_blocks\.(\d+)\.attn\.to_out\.(.*)", r"single_blocks.\1.linear2.\2"),
    (r"single_transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"single_blocks.\1.norm.query_norm.scale"),
    (r"single_transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"single_blocks.\1.norm.key_norm.scale"),
    (r"(double_stream_modulation_\w+|single_stream_modulation)\.linear\.(.*)", r"\1.lin.\2"),
    (r"time_guidance_embed\.timestep_embedder\.linear_1\.(.*)", r"time_in.in_layer.\1"),
    (r"time_guidance_embed\.timestep_embedder\.linear_2\.(.*)", r"time_in.out_layer.\1"),
    (r"time_guidance_embed\.guidance_embedder\.linear_1\.(.*)", r"guidance_in.in_layer.\1"),
    (r"time_guidance_embed\.guidance_embedder\.linear_2\.(.*)", r"guidance_in.out_layer.\1"),
    (r"context_embedder\.(.*)", r"txt_in.\1"),
    (r"x_embedder\.(.*)", r"img_in.\1"),
    (r"proj_out\.(.*)", r"final_layer.linear.\1"),
    (r"norm_out\.linear\.(.*)", r"final_layer.adaLN_modulation.1.\1"),
)


def _flux2(tensors: Tensors) -> Tensors:
    tensors = fuse(_swap_norm_out(tensors), "attn.img_qkv", "attn.to_q", "attn.to_k", "attn.to_v")
    tensors = fuse(tensors, "attn.txt_qkv", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
    return rename(tensors, _FLUX2)


_SD3: Table = (
    (r"transformer_blocks\.(\d+)\.attn\.x_qkv\.(.*)", r"joint_blocks.\1.x_block.attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.context_qkv\.(.*)", r"joint_blocks.\1.context_block.attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_q\.weight", r"joint_blocks.\1.x_block.attn.ln_q.weight"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_k\.weight", r"joint_blocks.\1.x_block.attn.ln_k.weight"),
    (
        r"transformer_blocks\.(\d+)\.attn\.norm_added_q\.weight",
        r"joint_blocks.\1.context_block.attn.ln_q.weight",
    ),
    (
        r"transformer_blocks\.(\d+)\.attn\.norm_added_k\.weight",
        r"joint_blocks.\1.context_block.attn.ln_k.weight",
    ),
    (r"transformer_blocks\.(\d+)\.attn\.to_out\.0\.(.*)", r"joint_blocks.\1.x_block.attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.to_add_out\.(.*)", r"joint_blocks.\1.context_block.attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn2\.x_qkv\.(.*)", r"joint_blocks.\1.x_block.attn2.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn2\.norm_q\.weight", r"joint_blocks.\1.x_block.attn2.ln_q.weight"),
    (r"transformer_blocks\.(\d+)\.attn2\.norm_k\.weight", r"joint_blocks.\1.x_block.attn2.ln_k.weight"),
    (r"transformer_blocks\.(\d+)\.attn2\.to_out\.0\.(.*)", r"joint_blocks.\1.x_block.attn2.proj.\2"),
    (r"transformer_blocks\.(\d+)\.norm1\.linear\.(.*)", r"joint_blocks.\1.x_block.adaLN_modulation.1.\2"),
    (
        r"transformer_blocks\.(\d+)\.norm1_context\.linear\.(.*)",
        r"joint_blocks.\1.context_block.adaLN_modulation.1.\2",
    ),
    (r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.(.*)", r"joint_blocks.\1.x_block.mlp.fc1.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.2\.(.*)", r"joint_blocks.\1.x_block.mlp.fc2.\2"),
    (
        r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj\.(.*)",
        r"joint_blocks.\1.context_block.mlp.fc1.\2",
    ),
    (r"transformer_blocks\.(\d+)\.ff_context\.net\.2\.(.*)", r"joint_blocks.\1.context_block.mlp.fc2.\2"),
    (r"pos_embed\.pos_embed", r"pos_embed"),
    (r"pos_embed\.proj\.(.*)", r"x_embedder.proj.\1"),
    (r"time_text_embed\.timestep_embedder\.linear_1\.(.*)", r"t_embedder.mlp.0.\1"),
    (r"time_text_embed\.timestep_embedder\.linear_2\.(.*)", r"t_embedder.mlp.2.\1"),
    (r"time_text_embed\.text_embedder\.linear_1\.(.*)", r"y_embedder.mlp.0.\1"),
    (r"time_text_embed\.text_embedder\.linear_2\.(.*)", r"y_embedder.mlp.2.\1"),
    (r"(context_embedder\..*)", r"\1"),
    (r"proj_out\.(.*)", r"final_layer.linear.\1"),
    (r"norm_out\.linear\.(.*)", r"final_layer.adaLN_modulation.1.\1"),
)


def _sd3(tensors: Tensors) -> Tensors:
    last = max(int(name.split(".")[1]) for name in tensors if name.startswith("transformer_blocks."))
    swapped = ("norm_out.linear.", f"transformer_blocks.{last}.norm1_context.linear.")
    tensors = {name: swap(each) if name.startswith(swapped) else each for name, each in tensors.items()}
    tensors = fuse(tensors, "attn2.x_qkv", "attn2.to_q", "attn2.to_k", "attn2.to_v")
    tensors = fuse(tensors, "attn.x_qkv", "attn.to_q", "attn.to_k", "attn.to_v")
    tensors = fuse(tensors, "attn.context_qkv", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
    return rename(tensors, _SD3)


def _z_image(tensors: Tensors) -> Tensors:
    tensors = fuse(tensors, "attention.qkv", "attention.to_q", "attention.to_k", "attention.to_v")
    return rename(
        tensors,
        (
            (r"all_final_layer\.2-1\.(.*)", r"final_layer.\1"),
            (r"all_x_embedder\.2-1\.(.*)", r"x_embedder.\1"),
            (r"(.*)\.attention\.to_out\.0\.(.*)", r"\1.attention.out.\2"),
            (r"(.*)\.attention\.norm_([qk])\.weight", r"\1.attention.\2_norm.weight"),
            (r"(.*)", r"\1"),
        ),
    )


def _auraflow(tensors: Tensors) -> Tensors:
    table: list[tuple[str, str]] = [
        (r"register_tokens", "register_tokens"),
        (r"pos_embed\.pos_embed", "positional_encoding"),
        (r"pos_embed\.proj\.(.*)", r"init_x_linear.\1"),
        (r"context_embedder\.(.*)", r"cond_seq_linear.\1"),
        (r"time_step_proj\.linear_1\.(.*)", r"t_embedder.mlp.0.\1"),
        (r"time_step_proj\.linear_2\.(.*)", r"t_embedder.mlp.2.\1"),
        (r"proj_out\.(.*)", r"final_linear.\1"),
        (r"norm_out\.linear\.(.*)", r"modF.1.\1"),
        (r"joint_transformer_blocks\.(\d+)\.norm1\.linear\.(.*)", r"double_layers.\1.modX.1.\2"),
        (r"joint_transformer_blocks\.(\d+)\.norm1_context\.linear\.(.*)", r"double_layers.\1.modC.1.\2"),
        (r"single_transformer_blocks\.(\d+)\.norm1\.linear\.(.*)", r"single_layers.\1.modCX.1.\2"),
    ]
    for old, new in (("linear_1", "c_fc1"), ("linear_2", "c_fc2"), ("out_projection", "c_proj")):
        table += [
            (rf"joint_transformer_blocks\.(\d+)\.ff\.{old}\.(.*)", rf"double_layers.\1.mlpX.{new}.\2"),
            (
                rf"joint_transformer_blocks\.(\d+)\.ff_context\.{old}\.(.*)",
                rf"double_layers.\1.mlpC.{new}.\2",
            ),
            (rf"single_transformer_blocks\.(\d+)\.ff\.{old}\.(.*)", rf"single_layers.\1.mlp.{new}.\2"),
        ]
    for old, new in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), (r"to_out\.0", "o")):
        added = {"q": "add_q_proj", "k": "add_k_proj", "v": "add_v_proj", "o": "to_add_out"}[new]
        table += [
            (rf"joint_transformer_blocks\.(\d+)\.attn\.{old}\.(.*)", rf"double_layers.\1.attn.w2{new}.\2"),
            (rf"joint_transformer_blocks\.(\d+)\.attn\.{added}\.(.*)", rf"double_layers.\1.attn.w1{new}.\2"),
            (rf"single_transformer_blocks\.(\d+)\.attn\.{old}\.(.*)", rf"single_layers.\1.attn.w1{new}.\2"),
        ]
    return rename(_swap_norm_out(tensors), tuple(table))


def _lumina2(tensors: Tensors) -> Tensors:
    tensors = fuse(tensors, "attn.qkv", "attn.to_q", "attn.to_k", "attn.to_v")
    renamed = rename(
        tensors,
        (
            (r"time_caption_embed\.caption_embedder\.(.*)", r"cap_embedder.\1"),
            (r"time_caption_embed\.timestep_embedder\.linear_1\.(.*)", r"t_embedder.mlp.0.\1"),
            (r"time_caption_embed\.timestep_embedder\.linear_2\.(.*)", r"t_embedder.mlp.2.\1"),
            (r"norm_out\.linear_1\.(.*)", r"final_layer.adaLN_modulation.1.\1"),
            (r"norm_out\.linear_2\.(.*)", r"final_layer.linear.\1"),
            (r"(.*)\.attn\.qkv\.(.*)", r"\1.attention.qkv.\2"),
            (r"(.*)\.attn\.to_out\.0\.(.*)", r"\1.attention.out.\2"),
            (r"(.*)\.attn\.norm_([qk])\.(.*)", r"\1.attention.\2_norm.\3"),
            (r"(.*)\.feed_forward\.linear_(\d)\.(.*)", r"\1.feed_forward.w\2.\3"),
            (r"(.*)\.norm1\.linear\.(.*)", r"\1.adaLN_modulation.1.\2"),
            (r"(.*)\.norm1\.norm\.(.*)", r"\1.attention_norm1.\2"),
            (r"(.*)\.norm1\.(.*)", r"\1.attention_norm1.\2"),
            (r"(.*)\.norm2\.(.*)", r"\1.attention_norm2.\2"),
            (r"(.*)", r"\1"),
        ),
    )
    return renamed | {"norm_final.weight": torch.ones(3)}


_T_BLOCK: Table = (
    (r"patch_embed\.proj\.(.*)", r"x_embedder.proj.\1"),
    (r"pos_embed\.proj\.(.*)", r"x_embedder.proj.\1"),
    (r"(?:time_embed|adaln_single)\.emb\.timestep_embedder\.linear_1\.(.*)", r"t_embedder.mlp.0.\1"),
    (r"(?:time_embed|adaln_single)\.emb\.timestep_embedder\.linear_2\.(.*)", r"t_embedder.mlp.2.\1"),
    (r"(?:time_embed|adaln_single)\.linear\.(.*)", r"t_block.1.\1"),
    (r"caption_projection\.linear_1\.(.*)", r"y_embedder.y_proj.fc1.\1"),
    (r"caption_projection\.linear_2\.(.*)", r"y_embedder.y_proj.fc2.\1"),
    (r"caption_norm\.weight", r"attention_y_norm.weight"),
    (r"proj_out\.(.*)", r"final_layer.linear.\1"),
    (r"scale_shift_table", r"final_layer.scale_shift_table"),
    (r"transformer_blocks\.(\d+)\.scale_shift_table", r"blocks.\1.scale_shift_table"),
    (r"transformer_blocks\.(\d+)\.attn1\.qkv\.(.*)", r"blocks.\1.attn.qkv.\2"),
    (r"transformer_blocks\.(\d+)\.attn1\.to_out\.0\.(.*)", r"blocks.\1.attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn2\.to_q\.(.*)", r"blocks.\1.cross_attn.q_linear.\2"),
    (r"transformer_blocks\.(\d+)\.attn2\.kv\.(.*)", r"blocks.\1.cross_attn.kv_linear.\2"),
    (r"transformer_blocks\.(\d+)\.attn2\.to_out\.0\.(.*)", r"blocks.\1.cross_attn.proj.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.conv_(inverted|depth|point)\.(.*)", r"blocks.\1.mlp.\2_conv.conv.\3"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.(.*)", r"blocks.\1.mlp.fc1.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.2\.(.*)", r"blocks.\1.mlp.fc2.\2"),
)


def _pixart_like(tensors: Tensors) -> Tensors:
    tensors = fuse(tensors, "attn1.qkv", "attn1.to_q", "attn1.to_k", "attn1.to_v")
    tensors = fuse(tensors, "attn2.kv", "attn2.to_k", "attn2.to_v")
    extra = {"pos_embed": torch.zeros(1, 4, 8), "y_embedder.y_embedding": torch.zeros(2, 2)}
    return rename(tensors, _T_BLOCK) | extra


def _hunyuan(tensors: Tensors) -> Tensors:
    tensors = fuse(_swap_norm_out(tensors), "attn1.Wqkv", "attn1.to_q", "attn1.to_k", "attn1.to_v")
    tensors = fuse(tensors, "attn2.kv_proj", "attn2.to_k", "attn2.to_v")
    return rename(
        tensors,
        (
            (r"text_embedder\.linear_1\.(.*)", r"mlp_t5.0.\1"),
            (r"text_embedder\.linear_2\.(.*)", r"mlp_t5.2.\1"),
            (r"pos_embed\.proj\.(.*)", r"x_embedder.proj.\1"),
            (r"time_extra_emb\.timestep_embedder\.linear_1\.(.*)", r"t_embedder.mlp.0.\1"),
            (r"time_extra_emb\.timestep_embedder\.linear_2\.(.*)", r"t_embedder.mlp.2.\1"),
            (r"time_extra_emb\.extra_embedder\.linear_1\.(.*)", r"extra_embedder.0.\1"),
            (r"time_extra_emb\.extra_embedder\.linear_2\.(.*)", r"extra_embedder.2.\1"),
            (r"time_extra_emb\.(pooler|style_embedder)\.(.*)", r"\1.\2"),
            (r"proj_out\.(.*)", r"final_layer.linear.\1"),
            (r"norm_out\.linear\.(.*)", r"final_layer.adaLN_modulation.1.\1"),
            (r"blocks\.(\d+)\.norm1\.linear\.(.*)", r"blocks.\1.default_modulation.1.\2"),
            (r"blocks\.(\d+)\.norm1\.norm\.(.*)", r"blocks.\1.norm1.\2"),
            (r"blocks\.(\d+)\.norm2\.(.*)", r"blocks.\1.norm3.\2"),
            (r"blocks\.(\d+)\.norm3\.(.*)", r"blocks.\1.norm2.\2"),
            (r"blocks\.(\d+)\.(attn\d)\.norm_([qk])\.(.*)", r"blocks.\1.\2.\3_norm.\4"),
            (r"blocks\.(\d+)\.attn2\.to_q\.(.*)", r"blocks.\1.attn2.q_proj.\2"),
            (r"blocks\.(\d+)\.(attn\d)\.to_out\.0\.(.*)", r"blocks.\1.\2.out_proj.\3"),
            (r"blocks\.(\d+)\.ff\.net\.0\.proj\.(.*)", r"blocks.\1.mlp.fc1.\2"),
            (r"blocks\.(\d+)\.ff\.net\.2\.(.*)", r"blocks.\1.mlp.fc2.\2"),
            (r"(.*)", r"\1"),
        ),
    )


def _krea2(tensors: Tensors) -> Tensors:
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in (
            (r"^img_in\.", "first."),
            (r"^time_embed\.linear_1\.", "tmlp.0."),
            (r"^time_embed\.linear_2\.", "tmlp.2."),
            (r"^time_mod_proj\.", "tproj.1."),
            (r"^txt_in\.norm\.weight", "txtmlp.0.scale"),
            (r"^txt_in\.linear_1\.", "txtmlp.1."),
            (r"^txt_in\.linear_2\.", "txtmlp.3."),
            (r"^text_fusion\.", "txtfusion."),
            (r"^transformer_blocks\.", "blocks."),
            (r"^final_layer\.linear\.", "last.linear."),
            (r"^final_layer\.norm\.weight", "last.norm.scale"),
            (r"^final_layer\.scale_shift_table", "last.modulation.lin"),
            (r"\.attn\.to_([qkv])\.", r".attn.w\1."),
            (r"\.attn\.to_out\.0\.", ".attn.wo."),
            (r"\.attn\.to_gate\.", ".attn.gate."),
            (r"\.attn\.norm_([qk])\.weight", r".attn.qknorm.\1norm.scale"),
            (r"\.ff\.", ".mlp."),
            (r"\.norm1\.weight", ".prenorm.scale"),
            (r"\.norm2\.weight", ".postnorm.scale"),
            (r"\.scale_shift_table", ".mod.lin"),
        ):
            name = re.sub(old, new, name)
        renamed[name] = tensor.flatten() if name.endswith(".mod.lin") else tensor
    return renamed


_HUNYUAN_IMAGE: Table = (
    (r"context_embedder_2\.norm\.(.*)", r"byt5_in.layernorm.\1"),
    (r"context_embedder_2\.linear_(\d)\.(.*)", r"byt5_in.fc\1.\2"),
    (r"x_embedder\.(.*)", r"img_in.\1"),
    (r"context_embedder\.proj_in\.(.*)", r"txt_in.input_embedder.\1"),
    (
        r"context_embedder\.time_text_embed\.timestep_embedder\.linear_1\.(.*)",
        r"txt_in.t_embedder.mlp.0.\1",
    ),
    (
        r"context_embedder\.time_text_embed\.timestep_embedder\.linear_2\.(.*)",
        r"txt_in.t_embedder.mlp.2.\1",
    ),
    (r"context_embedder\.time_text_embed\.text_embedder\.(.*)", r"txt_in.c_embedder.\1"),
    (
        r"context_embedder\.token_refiner\.refiner_blocks\.(\d)\.norm_out\.linear\.(.*)",
        r"txt_in.individual_token_refiner.blocks.\1.adaLN_modulation.1.\2",
    ),
    (
        r"context_embedder\.token_refiner\.refiner_blocks\.(\d)\.attn\.to_out\.0\.(.*)",
        r"txt_in.individual_token_refiner.blocks.\1.self_attn_proj.\2",
    ),
    (
        r"context_embedder\.token_refiner\.refiner_blocks\.(\d)\.ff\.net\.0\.proj\.(.*)",
        r"txt_in.individual_token_refiner.blocks.\1.mlp.fc1.\2",
    ),
    (
        r"context_embedder\.token_refiner\.refiner_blocks\.(\d)\.ff\.net\.2\.(.*)",
        r"txt_in.individual_token_refiner.blocks.\1.mlp.fc2.\2",
    ),
    (
        r"context_embedder\.token_refiner\.refiner_blocks\.(\d)\.(.*)",
        r"txt_in.individual_token_refiner.blocks.\1.\2",
    ),
    (r"time_guidance_embed\.timestep_embedder\.linear_1\.(.*)", r"time_in.mlp.0.\1"),
    (r"time_guidance_embed\.timestep_embedder\.linear_2\.(.*)", r"time_in.mlp.2.\1"),
    (r"time_guidance_embed\.timestep_embedder_r\.linear_1\.(.*)", r"time_r_in.mlp.0.\1"),
    (r"time_guidance_embed\.timestep_embedder_r\.linear_2\.(.*)", r"time_r_in.mlp.2.\1"),
    (r"time_guidance_embed\.guidance_embedder\.linear_1\.(.*)", r"guidance_in.mlp.0.\1"),
    (r"time_guidance_embed\.guidance_embedder\.linear_2\.(.*)", r"guidance_in.mlp.2.\1"),
    (r"norm_out\.linear\.(.*)", r"final_layer.adaLN_modulation.1.\1"),
    (r"single_transformer_blocks\.(\d+)\.norm\.linear\.(.*)", r"single_blocks.\1.modulation.linear.\2"),
    (r"single_transformer_blocks\.(\d+)\.attn\.norm_(\w)\.(.*)", r"single_blocks.\1.\2_norm.\3"),
    (r"single_transformer_blocks\.(\d+)\.attn\.to_(\w)\.(.*)", r"single_blocks.\1.linear1_\2.\3"),
    (r"single_transformer_blocks\.(\d+)\.proj_mlp\.(.*)", r"single_blocks.\1.linear1_mlp.\2"),
    (r"single_transformer_blocks\.(\d+)\.proj_out\.(.*)", r"single_blocks.\1.linear2.fc.\2"),
    (r"proj_out\.(.*)", r"final_layer.linear.\1"),
    (r"transformer_blocks\.(\d+)\.norm1\.linear\.(.*)", r"double_blocks.\1.img_mod.linear.\2"),
    (r"transformer_blocks\.(\d+)\.norm1_context\.linear\.(.*)", r"double_blocks.\1.txt_mod.linear.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_added_(\w)\.(.*)", r"double_blocks.\1.txt_attn_\2_norm.\3"),
    (r"transformer_blocks\.(\d+)\.attn\.norm_(\w)\.(.*)", r"double_blocks.\1.img_attn_\2_norm.\3"),
    (r"transformer_blocks\.(\d+)\.attn\.to_out\.0\.(.*)", r"double_blocks.\1.img_attn_proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.to_add_out\.(.*)", r"double_blocks.\1.txt_attn_proj.\2"),
    (r"transformer_blocks\.(\d+)\.attn\.to_(\w)\.(.*)", r"double_blocks.\1.img_attn_\2.\3"),
    (r"transformer_blocks\.(\d+)\.attn\.add_(\w)_proj\.(.*)", r"double_blocks.\1.txt_attn_\2.\3"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj\.(.*)", r"double_blocks.\1.img_mlp.fc1.\2"),
    (r"transformer_blocks\.(\d+)\.ff\.net\.2\.(.*)", r"double_blocks.\1.img_mlp.fc2.\2"),
    (r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj\.(.*)", r"double_blocks.\1.txt_mlp.fc1.\2"),
    (r"transformer_blocks\.(\d+)\.ff_context\.net\.2\.(.*)", r"double_blocks.\1.txt_mlp.fc2.\2"),
)


def hunyuan_image(tensors: Tensors, *, fused: bool = False) -> Tensors:
    """Tencent's names: queries, keys and values apart, but in the text's refiner; ComfyUI's file has them in one."""
    tensors = {
        name: swap(tensor) if name.startswith("norm_out.") else tensor for name, tensor in tensors.items()
    }
    refiner = {name: tensor for name, tensor in tensors.items() if ".refiner_blocks." in name}
    others = {name: tensor for name, tensor in tensors.items() if name not in refiner}
    refiner = fuse(refiner, "self_attn_qkv", "attn.to_q", "attn.to_k", "attn.to_v")
    renamed = rename(others | refiner, _HUNYUAN_IMAGE)
    if not fused:
        return renamed
    for stream in ("img", "txt"):
        parts = [f"{stream}_attn_{part}" for part in "qkv"]
        renamed = fuse(renamed, f"{stream}_attn_qkv", *parts)
    renamed = fuse(renamed, "linear1", "linear1_q", "linear1_k", "linear1_v", "linear1_mlp")
    return {name.replace("linear2.fc.", "linear2."): tensor for name, tensor in renamed.items()}


def _qwen_image21(tensors: Tensors) -> Tensors:
    """ComfyUI's names."""
    return fuse(tensors, "gate_up", "gate_layer", "proj")


TRANSFORMERS: dict[str, Callable[[Tensors], Tensors]] = {
    "hunyuan-image": hunyuan_image,
    "qwen-image-21": _qwen_image21,
    "flux": _flux_like(_FLUX),
    "chroma": _flux_like(_CHROMA),
    "flux2": _flux2,
    "flux2-klein": _flux2,
    "sd3": _sd3,
    "z-image": _z_image,
    "auraflow": _auraflow,
    "lumina2": _lumina2,
    "sana": _pixart_like,
    "pixart-alpha": _pixart_like,
    "pixart-sigma": _pixart_like,
    "hunyuan-dit": _hunyuan,
    "krea2": _krea2,
}
"""By family; Qwen-Image and CogView4 have no other names than diffusers'."""


def wan_autoencoder(tensors: Tensors, per_level: int) -> Tensors:
    """Wan's names of its autoencoder.

    Args:
        tensors: By diffusers' names.
        per_level: Residual blocks of a level of the decoder.
    """

    def upsample(found: re.Match[str]) -> str:
        place = per_level if found[2] == "upsamplers" else int(found[3])
        return f"decoder.upsamples.{int(found[1]) * (per_level + 1) + place}."

    renamed = {}
    for name, tensor in tensors.items():
        name = re.sub(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.", upsample, name)
        name = name.replace("encoder.down_blocks.", "encoder.downsamples.")
        name = re.sub(r"mid_block\.resnets\.0\.", "middle.0.", name)
        name = re.sub(r"mid_block\.attentions\.0\.", "middle.1.", name)
        name = re.sub(r"mid_block\.resnets\.1\.", "middle.2.", name)
        for old, new in (
            (r"^quant_conv\.", "conv1."),
            (r"^post_quant_conv\.", "conv2."),
            (r"coder\.conv_in\.", "coder.conv1."),
            (r"coder\.norm_out\.", "coder.head.0."),
            (r"coder\.conv_out\.", "coder.head.2."),
        ):
            name, count = re.subn(old, new, name)
            if count:
                break
        else:
            name = name.replace(".norm1.gamma", ".residual.0.gamma").replace(
                ".norm2.gamma", ".residual.3.gamma"
            )
            name = re.sub(r"(samples\.\d+|middle\.[02])\.conv1\.", r"\1.residual.2.", name)
            name = re.sub(r"(samples\.\d+|middle\.[02])\.conv2\.", r"\1.residual.6.", name)
            name = name.replace(".conv_shortcut.", ".shortcut.")
        renamed[name] = tensor
    return renamed


def hunyuan_image_autoencoder(tensors: Tensors) -> Tensors:
    """Tencent's names; diffusers has the blocks of all levels in one list."""
    renamed = {}
    for part, kind in (("encoder", "down"), ("decoder", "up")):
        places = sorted(
            {int(name.split(".")[2]) for name in tensors if name.startswith(f"{part}.{kind}_blocks.")}
        )
        level = block = 0
        for place in places:
            prefix = f"{part}.{kind}_blocks.{place}."
            own = {
                name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
            }
            if "conv.weight" in own:
                renamed |= {f"{part}.{kind}.{level}.{kind}sample.{name}": each for name, each in own.items()}
                level, block = level + 1, 0
            else:
                for name, each in own.items():
                    name = name.replace("conv_shortcut", "nin_shortcut")
                    renamed[f"{part}.{kind}.{level}.block.{block}.{name}"] = each
                block += 1
    for name, tensor in tensors.items():
        if "_blocks." in name:
            continue
        name = name.replace("mid_block.resnets.0", "mid.block_1").replace(
            "mid_block.resnets.1", "mid.block_2"
        )
        if "mid_block.attentions.0" in name:
            name = name.replace(".proj.", ".proj_out.").replace(".to_", ".")
            name = name.replace("mid_block.attentions.0", "mid.attn_1")
        # the authors' convolutions are in time too
        five = tensor[:, :, None] if tensor.dim() == 4 else tensor
        renamed[name] = five
    return renamed


_QWEN21_BLOCK = {
    "norm1.": "residual.0.",
    "conv1.": "residual.2.",
    "norm2.": "residual.3.",
    "conv2.": "residual.6.",
    "conv_shortcut.": "shortcut.",
}


def qwen21_autoencoder(tensors: Tensors, per_level: int) -> Tensors:
    """Wan 2.2's names: the sampler of a level comes after its blocks, of which the decoder has one more."""

    def block(rest: str) -> str:
        old = next(key for key in _QWEN21_BLOCK if rest.startswith(key))
        return _QWEN21_BLOCK[old] + rest.removeprefix(old)

    renamed = {}
    for name, tensor in tensors.items():
        if found := re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d)\.resnets\.(\d)\.(.*)", name):
            part, kind, level, place, rest = found.groups()
            name = f"{part}.{kind}samples.{level}.{kind}samples.{place}.{block(rest)}"
        elif found := re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d)\.\w+sampler\.(.*)", name):
            part, kind, level, rest = found.groups()
            place = per_level + (kind == "up")
            name = f"{part}.{kind}samples.{level}.{kind}samples.{place}.{rest}"
        elif found := re.match(r"(encoder|decoder)\.mid_block\.resnets\.(\d)\.(.*)", name):
            name = f"{found[1]}.middle.{2 * int(found[2])}.{block(found[3])}"
        else:
            name = name.replace("mid_block.attentions.0", "middle.1").replace("post_quant_conv", "conv2")
            name = name.replace("quant_conv", "conv1").replace("conv_in", "conv1")
            name = name.replace("norm_out", "head.0").replace("conv_out", "head.2")
        renamed[name] = tensor
    return renamed


def tiny_autoencoder(tensors: Tensors) -> Tensors:
    """TAESD's names: its decoder begins with a clamp."""
    renamed = {}
    for name, tensor in tensors.items():
        part, _, number, rest = name.split(".", 3)
        renamed[f"{part}.{int(number) + (part == 'decoder')}.{rest}"] = tensor
    return renamed


def flux2_autoencoder(tensors: Tensors, convert_vae: Callable[[Tensors], Tensors]) -> Tensors:
    """Flux.2's names of its autoencoder: the convolutions around the latents belong to encoder and decoder."""
    norms = {name: tensor for name, tensor in tensors.items() if name.startswith("bn.")}
    others = convert_vae({name: tensor for name, tensor in tensors.items() if name not in norms})
    return norms | {
        re.sub(
            r"^quant_conv\.", "encoder.quant_conv.", re.sub(r"^post_quant", "decoder.post_quant", name)
        ): tensor
        for name, tensor in others.items()
    }


def deep_compression_autoencoder(tensors: Tensors) -> Tensors:
    """DC-AE's names, for the blocks that the tiny one has."""
    fused = fuse(tensors, "qkv", "to_q", "to_k", "to_v")
    renamed = {}
    for name, tensor in fused.items():
        if ".qkv." in name or ".to_out." in name:
            tensor = tensor[:, :, None, None]
        for old, new in (
            (r"encoder\.conv_in\.", "encoder.project_in.conv."),
            (r"encoder\.conv_out\.", "encoder.project_out.0.conv."),
            (r"decoder\.conv_in\.", "decoder.project_in.conv."),
            (r"decoder\.norm_out\.", "decoder.project_out.0."),
            (r"decoder\.conv_out\.", "decoder.project_out.2.conv."),
            (r"(en|de)coder\.(?:down|up)_blocks\.(\d+)\.(\d+)\.", r"\1coder.stages.\2.op_list.\3."),
            (r"op_list\.(\d+)\.conv([12])\.", r"op_list.\1.main.conv\2.conv."),
            (r"op_list\.(\d+)\.norm\.", r"op_list.\1.main.conv2.norm."),
            (r"op_list\.(\d+)\.conv\.", r"op_list.\1.main.conv.conv."),
            (r"\.attn\.qkv\.", ".context_module.main.qkv.conv."),
            (r"\.attn\.to_qkv_multiscale\.0\.proj_in\.", ".context_module.main.aggreg.0.0."),
            (r"\.attn\.to_qkv_multiscale\.0\.proj_out\.", ".context_module.main.aggreg.0.1."),
            (r"\.attn\.to_out\.", ".context_module.main.proj.conv."),
            (r"\.attn\.norm_out\.", ".context_module.main.proj.norm."),
            (r"\.conv_out\.conv_inverted\.", ".local_module.main.inverted_conv.conv."),
            (r"\.conv_out\.conv_depth\.", ".local_module.main.depth_conv.conv."),
            (r"\.conv_out\.conv_point\.", ".local_module.main.point_conv.conv."),
            (r"\.conv_out\.norm\.", ".local_module.main.point_conv.norm."),
        ):
            name = re.sub(old, new, name)
        renamed[name] = tensor
    return renamed
