"""Measure how long 1,000 files in a model folder take: to adopt them, to list the checkpoints, to find one.

The files are as long as real ones without taking room on the disk, and their headers have the usual size: 350
checkpoints (Stable Diffusion XL of 2,516 tensors, and 1), 420 LoRAs, 100 embeddings, 50 autoencoders, 40 ControlNets,
and 40 Flux transformers in GGUF files with their text encoders. Checkpoints come in twelve headers and LoRAs in forty,
since people have many files of one network by the same programs; with ``--different`` no two headers have the same
tensors. The metadata of each file are its own. Each measurement is a process of its own. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from safelight.models.checkpoints.discovery import find_checkpoints, find_path
from safelight.models.inventory.folders import inspect_folder

Shapes = Mapping[str, tuple[int, ...]]
SIZES = {"F16": 2, "BF16": 2, "F32": 4}
_BLOCK = {
    "attn1.to_q.weight": 2, "attn1.to_k.weight": 2, "attn1.to_v.weight": 2, "attn1.to_out.0.weight": 2,
    "attn1.to_out.0.bias": 1, "attn2.to_q.weight": 2, "attn2.to_k.weight": 3, "attn2.to_v.weight": 3,
    "attn2.to_out.0.weight": 2, "attn2.to_out.0.bias": 1, "ff.net.0.proj.weight": 2, "ff.net.0.proj.bias": 1,
    "ff.net.2.weight": 2, "ff.net.2.bias": 1, "norm1.weight": 1, "norm1.bias": 1, "norm2.weight": 1, "norm2.bias": 1,
    "norm3.weight": 1, "norm3.bias": 1,
}  # fmt: skip
"""A transformer block's tensors: vectors, matrices, and matrices that read the text."""


def unet(blocks: int, others: int, width: int, context: int, *, xl: bool) -> dict[str, tuple[int, ...]]:
    """A U-Net in the original names."""
    prefix = "model.diffusion_model."
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}input_blocks.0.0.weight": (320, 4, 3, 3)}
    if xl:
        shapes |= {
            f"{prefix}label_emb.0.0.weight": (1280, 2816),
            f"{prefix}input_blocks.4.1.proj_in.weight": (640, 640),
        }
    else:
        shapes[f"{prefix}input_blocks.4.1.proj_in.weight"] = (640, 640, 1, 1)
    for block in range(blocks):
        name = f"{prefix}output_blocks.{block % 9}.1.transformer_blocks.{block}."
        sides = {1: (width,), 2: (width, width), 3: (width, context)}
        shapes |= {name + end: sides[kind] for end, kind in _BLOCK.items()}
    shapes |= {
        f"{prefix}input_blocks.{each % 9}.0.in_layers.{each}.weight": (width, width) for each in range(others)
    }
    return shapes | {f"{prefix}out.2.weight": (4, 320, 3, 3)}


def autoencoder(prefix: str) -> dict[str, tuple[int, ...]]:
    """Stable Diffusion's autoencoder in the original names."""
    ends = {
        "encoder.conv_in.weight": (128, 3, 3, 3),
        "decoder.conv_in.weight": (512, 4, 3, 3),
        "encoder.conv_out.weight": (8, 512, 3, 3),
    }
    ends |= {
        "decoder.up.0.block.0.norm1.weight": (128,),
        "decoder.conv_out.weight": (3, 128, 3, 3),
        "quant_conv.weight": (8, 8, 1, 1),
    }
    blocks = {f"decoder.up.{each % 4}.block.{each}.conv1.weight": (128, 128, 3, 3) for each in range(242)}
    return {prefix + name: shape for name, shape in (ends | blocks).items()}


def clip_l(prefix: str) -> dict[str, tuple[int, ...]]:
    """OpenAI's CLIP in transformers' names."""
    text = f"{prefix}text_model."
    shapes = {
        f"{text}embeddings.token_embedding.weight": (49408, 768),
        f"{text}embeddings.position_embedding.weight": (77, 768),
    }
    for layer in range(12):
        name = f"{text}encoder.layers.{layer}."
        linear = [f"self_attn.{each}_proj" for each in ("q", "k", "v", "out")]
        shapes |= {f"{name}{each}.weight": (768, 768) for each in linear}
        shapes |= {
            f"{name}{each}.bias": (768,) for each in (*linear, "mlp.fc2", "layer_norm1", "layer_norm2")
        }
        shapes |= {
            f"{name}mlp.fc1.weight": (3072, 768),
            f"{name}mlp.fc2.weight": (768, 3072),
            f"{name}mlp.fc1.bias": (3072,),
        }
        shapes |= {f"{name}layer_norm{each}.weight": (768,) for each in (1, 2)}
    return shapes | {f"{text}final_layer_norm.{end}": (768,) for end in ("weight", "bias")}


def clip_g(prefix: str) -> dict[str, tuple[int, ...]]:
    """OpenCLIP's large text encoder in its own names."""
    shapes: dict[str, tuple[int, ...]] = {f"{prefix}token_embedding.weight": (49408, 1280)}
    shapes |= {f"{prefix}positional_embedding": (77, 1280), f"{prefix}text_projection": (1280, 1280)}
    for layer in range(32):
        name = f"{prefix}transformer.resblocks.{layer}."
        shapes |= {f"{name}attn.in_proj_weight": (3840, 1280), f"{name}attn.out_proj.weight": (1280, 1280)}
        shapes |= {f"{name}mlp.c_fc.weight": (5120, 1280), f"{name}mlp.c_proj.weight": (1280, 5120)}
        vectors = (
            "attn.in_proj_bias",
            "attn.out_proj.bias",
            "ln_1.weight",
            "ln_1.bias",
            "ln_2.weight",
            "ln_2.bias",
            "mlp.c_fc.bias",
            "mlp.c_proj.bias",
        )
        shapes |= {name + end: (1280,) for end in vectors}
    return shapes | {f"{prefix}ln_final.{end}": (1280,) for end in ("weight", "bias")}


def sdxl() -> dict[str, tuple[int, ...]]:
    """Stable Diffusion XL: 2,515 tensors."""
    encoders = clip_l("conditioner.embedders.0.transformer.") | clip_g("conditioner.embedders.1.model.")
    return unet(70, 276, 640, 2048, xl=True) | autoencoder("first_stage_model.") | encoders


def sd1() -> dict[str, tuple[int, ...]]:
    """Stable Diffusion 1: 1,133 tensors."""
    encoder = clip_l("cond_stage_model.transformer.")
    return unet(16, 366, 320, 768, xl=False) | autoencoder("first_stage_model.") | encoder


def lora(modules: int, rank: int, context: int) -> dict[str, tuple[int, ...]]:
    """An adapter in kohya's names, three tensors for each module."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module in range(modules):
        kind = ("attn1_to_q", "attn2_to_k", "ff_net_2")[module % 3]
        block = module if context == 2048 else 0
        name = f"lora_unet_down_blocks_{module}_attentions_0_transformer_blocks_{block}_{kind}"
        width = context if kind == "attn2_to_k" else 640
        shapes |= {
            f"{name}.alpha": (),
            f"{name}.lora_down.weight": (rank, width),
            f"{name}.lora_up.weight": (640, rank),
        }
    return shapes


def control_net() -> dict[str, tuple[int, ...]]:
    """A ControlNet of Stable Diffusion XL in diffusers' names: 845 tensors."""
    blocks = {f"down_blocks.2.attentions.{each}.attn2.to_k.weight": (640, 2048) for each in range(844)}
    return {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), **blocks}


def flux() -> dict[str, tuple[int, ...]]:
    """Flux' transformer in its authors' names: 780 tensors."""
    shapes: dict[str, tuple[int, ...]] = {"img_in.weight": (3072, 64), "txt_in.weight": (3072, 4096)}
    shapes |= {
        "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
        "vector_in.in_layer.weight": (3072, 768),
    }
    shapes |= {f"double_blocks.{each // 25}.img_mlp.{each % 25}.weight": (3072, 64) for each in range(475)}
    return shapes | {
        f"single_blocks.{each // 8}.linear1.{each % 8}.weight": (3072, 64) for each in range(301)
    }


def t5() -> dict[str, tuple[int, ...]]:
    """T5-XXL's encoder: 220 tensors."""
    shapes = {"shared.weight": (32128, 4096), "encoder.final_layer_norm.weight": (4096,)}
    ends = (
        "SelfAttention.q",
        "SelfAttention.k",
        "SelfAttention.v",
        "SelfAttention.o",
        "layer_norm",
        "wi_0",
        "wi_1",
        "wo",
        "norm",
    )
    return shapes | {
        f"encoder.block.{each}.layer.0.{end}.weight": (4096, 4096) for each in range(24) for end in ends
    }


def write_safetensors(path: Path, shapes: Shapes, dtype: str = "F16") -> None:
    """Write a sparse safetensors file with these tensors, and metadata of its own, as the format's library does."""
    entries: dict[str, object] = {
        "__metadata__": {"format": "pt", "modelspec.title": path.stem, "ss_tag": "x" * 2000}
    }
    end = 0
    for name, shape in sorted(shapes.items()):
        begin, end = end, end + SIZES[dtype] * math.prod(shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_sparse(path, struct.pack("<Q", len(text)) + text, end)


def write_gguf(path: Path, shapes: Shapes) -> None:
    """Write a sparse GGUF file with these tensors in Q8_0 and F32."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = (
        b"GGUF" + struct.pack("<IQQ", 3, len(shapes), 1) + text("general.architecture") + struct.pack("<I", 8)
    )
    head += text("flux")
    end = 0
    for name, shape in shapes.items():
        quantized = len(shape) > 1
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += struct.pack("<IQ", 8 if quantized else 0, end)
        size = math.prod(shape) // 32 * 34 if quantized else math.prod(shape) * 4
        end += -(-size // 32) * 32
    write_sparse(path, head + bytes(-len(head) % 32), end)


def write_sparse(path: Path, head: bytes, data: int) -> None:
    """Write a header, and zeros that take no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + data)


def write_models(root: Path, files: int, *, different: bool) -> None:
    """Write the files, in the folders of ComfyUI."""
    choose = random.Random(0)  # noqa: S311
    xl, one = sdxl(), sd1()
    for number, kind in enumerate(kinds(files)):
        own: Shapes = {f"own_{number}": (8,)} if different else {}
        name = f"{number % 7}/{kind} {number}.safetensors"
        if kind in ("sdxl", "sd1"):
            extra: Shapes = {"cond_stage_model.logit_scale": ()} if choose.random() < 0.5 else {}
            shapes = (xl if kind == "sdxl" else one) | dict(extra)
            write_safetensors(root / "checkpoints" / name, shapes | own, choose.choice(list(SIZES)))
        elif kind == "lora":
            modules, context = choose.choice([(722, 2048), (264, 768)])
            shapes = lora(modules - choose.choice([0, 72]), choose.choice([4, 8, 16, 32, 64]), context)
            write_safetensors(root / "loras" / name, shapes | own, choose.choice(["F16", "BF16"]))
        elif kind == "gguf":
            write_gguf((root / "diffusion_models" / name).with_suffix(".gguf"), flux() | own)
        else:
            shapes = {
                "vae": autoencoder(""),
                "controlnet": control_net(),
                "embeddings": {"emb_params": (4, 768)},
            }[kind]
            write_safetensors(root / kind / name, shapes if kind == "embeddings" else shapes | own)
    write_safetensors(root / "text_encoders" / "t5xxl.safetensors", t5())
    write_safetensors(root / "text_encoders" / "clip_l.safetensors", clip_l(""))
    vae = autoencoder("") | {
        "decoder.conv_in.weight": (512, 16, 3, 3),
        "encoder.conv_out.weight": (32, 512, 3, 3),
    }
    write_safetensors(root / "vae" / "ae.safetensors", vae)


def kinds(files: int) -> Iterator[str]:
    """What each file is."""
    shares = {"sdxl": 25, "sd1": 10, "lora": 42, "vae": 5, "embeddings": 10, "controlnet": 4, "gguf": 4}
    for kind, share in shares.items():
        yield from [kind] * (files * share // 100)


def seconds(task: Callable[[], object]) -> float:
    """Seconds of processor time that a task takes; it has one thread and waits for nothing but the page cache."""
    began = time.process_time()
    task()
    return time.process_time() - began


def milliseconds(task: Callable[[], object], times: int = 50) -> float:
    """How long a task takes on average, after a first time that is not counted."""
    task()
    return round(1000 * sum(seconds(task) for _ in range(times)) / times, 3)


def settle(root: Path) -> None:
    """Make all folders look as if they had changed long ago, as they have where nobody adds models right now."""
    for place, _, _ in os.walk(root):
        os.utime(place, (1_700_000_000, 1_700_000_000))


def change(root: Path) -> None:
    """Change a folder, and let it look old, so that it is read once."""
    os.utime(root / "loras", ns=(0, time.time_ns() - 10_000_000_000))


def adopt(root: Path, _: Path) -> dict[str, object]:
    """Describe all files, twice."""
    found = list[object]()
    first = seconds(lambda: found.extend(inspect_folder(root)))
    usable = sum(1 for file in inspect_folder(root) if file.usable)
    return {
        "adopt_seconds": round(first, 3),
        "adopt_again_seconds": round(seconds(lambda: list(inspect_folder(root))), 3),
        "described": len(found),
        "usable": usable,
    }


def look_up(root: Path, home: Path) -> dict[str, object]:
    """List the checkpoints twice, and find one."""
    found = list[object]()
    first = seconds(lambda: found.extend(find_checkpoints(home, folders=[root])))
    return {
        "list_first_seconds": round(first, 3),
        "list_again_seconds": round(seconds(lambda: find_checkpoints(home, folders=[root])), 3),
        "checkpoints": len(found),
        "one_by_name_milliseconds": milliseconds(lambda: find_path("0/sdxl 0", home, [root])),
        "no_such_name_milliseconds": milliseconds(lambda: find_path("none", home, [root])),
        "after_a_change_milliseconds": milliseconds(lambda: (change(root), find_path("none", home, [root]))),
    }


TASKS = {"adopt": adopt, "look-up": look_up}


def main() -> None:
    """Write the files and print the times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--different", action="store_true", help="no two headers list the same tensors")
    parser.add_argument("--task", choices=list(TASKS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        print(json.dumps(TASKS[given.task](given.folder / "models", given.folder / "home")))
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "models"
        write_models(root, given.files, different=given.different)
        settle(root)
        results: dict[str, object] = {"files": given.files, "folders": sum(1 for _ in os.walk(root))}
        for task in TASKS:
            command = [sys.executable, __file__, "--task", task, "--folder", temporary]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results |= json.loads(printed)
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
