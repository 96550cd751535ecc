"""Types that describe how networks are laid out in weights files.

A `NetworkLayout` says how one kind of network is recognized, what its tensors are called, and how its configuration
follows from their shapes. A `FamilyLayout` says which networks and which published values make up a checkpoint of a
family. Neither imports torch: files are recognized from their headers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of tensors by name, without the prefix that a file may put before them."""
Tensors = dict[str, Any]
"""Tensors by name; torch's, which this package does not import."""
Config = dict[str, Any]
"""The configuration of a network, as its class takes it."""
Role = Literal["denoiser", "vae", "text encoder", "control", "image encoder"]


@dataclass(frozen=True, kw_only=True)
class NetworkLayout:
    """One kind of network in weights files.

    Args:
        name: Its identifier, such as "t5".
        title: What people call it, with its article.
        role: What it is for.
        class_name: Its class.
        library: The library of the class.
        own_keys: Names of tensors in its authors' layout; a file with one of them has that layout.
        library_keys: Likewise for the layout of its library.
        fits: Whether the shapes are those of this kind, where others share its names.
        convert: Gives the tensors of the authors' layout the names of the library: the name of a function of diffusers
            (``loaders.single_file_utils``), or a function. It may change the mapping that it is given.
        config: The configuration, from the shapes of the tensors by the library's names. What they do not tell is left
            out or has its published value.
        required: What must be known of the configuration; ``config`` leaves out what it cannot tell.
        width: The width by which networks fit together: hidden size of a text encoder, latent channels of an
            autoencoder.
        optional_modules: Parts of the network that files may leave out, such as the eyes of a language model whose
            pipelines only read text.
    """

    name: str
    title: str
    role: Role
    class_name: str
    library: Literal["diffusers", "transformers", "kolors"] = "diffusers"
    own_keys: tuple[str, ...] = ()
    library_keys: tuple[str, ...] = ()
    fits: Callable[[Shapes], bool] = lambda _: True
    convert: str | Callable[[Tensors], Tensors] = lambda tensors: tensors
    config: Callable[[Shapes], Config]
    required: tuple[str, ...] = ()
    width: Callable[[Shapes], int | None] = lambda _: None
    optional_modules: tuple[str, ...] = ()

    def matches(self, shapes: Shapes) -> bool:
        """Whether tensors of these names and shapes are this kind of network."""
        named = any(key in shapes for key in (*self.own_keys, *self.library_keys))
        return named and self.fits(shapes)

    def has_own_names(self, names: Mapping[str, object]) -> bool:
        """Whether the tensors are named as the network's authors do."""
        return any(key in names for key in self.own_keys)


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for a network in a family's checkpoints.

    Args:
        component: The pipelines' name of it: vae, text_encoder …
        layouts: Names of the kinds of networks that fit, the usual one first.
        usual_files: The names under which people have its file.
        class_name: The class that the pipelines need, where it is not the layout's.
        wanted_width: The width that the denoiser needs; None if any fits.
        prefixes: Parts of the prefixes that files with several networks put before this one's tensors.
        tokenizer: The tokenizer, for text encoders: a name of ``tokenizers.bundled``.
        config: Published values beside those that shapes tell, such as the scaling factor of an autoencoder.
        names: Words in names of files that belong to this family, where another's files have the same content.
        other_names: Words in names of files that belong to another.
        optional: Pipelines work without it.
    """

    component: str
    layouts: tuple[str, ...]
    usual_files: tuple[str, ...]
    class_name: str = ""
    wanted_width: Callable[[Shapes], int | None] = lambda _: None
    prefixes: tuple[str, ...] = ()
    tokenizer: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    other_names: tuple[str, ...] = ()
    optional: bool = False


Variant = Callable[[Shapes, Mapping[str, str], str], str]
"""The name of a family's variant, from the denoiser's shapes, the file's metadata, and at last the file's name."""


@dataclass(frozen=True, kw_only=True)
class FamilyLayout:
    """The checkpoints of a family as files.

    Args:
        denoiser: Its denoiser.
        slots: Its other networks.
        variant: Tells the family's variants apart; the result is a name of ``families.FAMILIES``.
        scheduler: The config of a variant's scheduler, with its ``_class_name``.
        options: The options of a variant's pipelines.
        guiders: The configs of a variant's guiders by their component names, with their ``_class_name``.
    """

    denoiser: NetworkLayout
    slots: tuple[Slot, ...]
    variant: Variant
    scheduler: Callable[[str], Config]
    options: Callable[[str], Config] = lambda _: {}
    guiders: Callable[[str], Mapping[str, Config]] = lambda _: {}


def side(shapes: Shapes, axis: int, *names: str) -> int | None:
    """A side of the first of some tensors that is there."""
    for name in names:
        shape = shapes.get(name)
        if shape is not None and len(shape) > axis:
            return shape[axis]
    return None


def needed(shapes: Shapes, axis: int, *names: str) -> int:
    """The same, for tensors that the network cannot lack.

    Raises:
        KeyError: None of them is there.
    """
    found = side(shapes, axis, *names)
    if found is None:
        raise KeyError(names[0])
    return found


MAX_BLOCKS = 1000
"""More than any network has: a file must not make us build a million."""


def count_blocks(shapes: Shapes, prefix: str) -> int:
    """How many numbered blocks there are: the different numbers after a prefix.

    Raises:
        ValueError: There are too many for a network.
    """
    numbers = {
        name[len(prefix) :].partition(".")[0]
        for name in shapes
        if name.startswith(prefix) and "." in name[len(prefix) :]
    }
    count = sum(number.isdecimal() for number in numbers)
    if count > MAX_BLOCKS:
        raise ValueError(f"{count} blocks {prefix}0, 1 … are more than any network has")
    return count


def divided(whole: int, part: int) -> int | None:
    """How often a part goes into a whole; None if it does not."""
    return whole // part if part and whole % part == 0 else None


def without_none(config: Config) -> Config:
    """A config without the values that are not known."""
    return {name: value for name, value in config.items() if value is not None}


def swap_halves(tensor: Any) -> Any:
    """Swap the two halves of a tensor's rows: the authors' code has shift and scale, diffusers scale and shift."""
    return tensor.roll(tensor.shape[0] // 2, 0)


def replace_keys(tensors: Tensors, *replacements: tuple[str, str]) -> Tensors:
    """Rename tensors by replacing parts of their names, in order."""
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in replacements:
            name = name.replace(old, new)  # noqa: PLW2901  each replacement sees the one before
        renamed[name] = tensor
    return renamed


def flow_scheduler(**values: Any) -> Config:
    """The config of diffusers' Euler scheduler for flow matching."""
    return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, **values}


def declared(metadata: Mapping[str, str], name: str) -> str:
    """What the makers wrote into the file by Stability AI's model specification, in lower case."""
    words = (metadata.get(f"modelspec.{key}", "") for key in ("architecture", "title", "description"))
    return " ".join([*words, name]).lower()
