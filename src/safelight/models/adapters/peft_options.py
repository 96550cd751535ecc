"""What a file says of peft's configuration: in diffusers' metadata, or in adapter_config.json beside peft's own files.

kohya's and LyCORIS' files have each layer's alpha as a tensor; these have it here, if at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safelight.models.checkpoints.safetensors_header import Header

_METADATA = "lora_adapter_metadata"
"""diffusers' entry, with the options of each component."""
_PEFT_FILE = "adapter_model.safetensors"
_MAX_BYTES = 1_000_000
_NEUMANN_TERMS = 5
"""peft's default."""


@dataclass(frozen=True)
class PeftOptions:
    """The options of one network's adapter.

    Args:
        values: They, as peft names them.
    """

    values: Mapping[str, object] = field(default_factory=dict)

    def alpha(self, module: str) -> float | None:
        """The alpha of a module; None where nothing is said."""
        return self._number(module, "alpha_pattern", "lora_alpha", "alpha")

    def rank(self, module: str) -> int | None:
        """The rank of a module; None where nothing is said."""
        found = self._number(module, "rank_pattern", "r")
        return None if found is None else int(found)

    @property
    def rank_stabilized(self) -> bool:
        """Whether alpha is divided by the square root of the rank."""
        return self.values.get("use_rslora") is True

    @property
    def neumann_terms(self) -> int:
        """Terms of the series that stands for a rotation; 0 for the rotation itself."""
        if self.values.get("use_cayley_neumann") is False:
            return 0
        terms = self.values.get("num_cayley_neumann_terms", _NEUMANN_TERMS)
        # peft's shortest series but one is as long as the next
        return max(terms, 4) if isinstance(terms, int) and 2 < terms < 100 else _NEUMANN_TERMS

    def _number(self, module: str, pattern: str, *names: str) -> float | None:
        patterns = self.values.get(pattern)
        own = [
            value
            for name, value in (patterns.items() if isinstance(patterns, dict) else ())
            if module == name.lstrip("^") or module.endswith(f".{name.lstrip('^')}")
        ]
        for value in [*own, *(self.values.get(name) for name in names)]:
            if isinstance(value, int | float) and not isinstance(value, bool):
                return float(value)
        return None


def read_peft_options(path: Path, header: Header) -> Mapping[str, PeftOptions]:
    """The options by component; those under "" are every other component's."""
    found = _object(header.metadata.get(_METADATA, ""))
    by_component: dict[str, dict[str, object]] = {}
    for name, value in found.items():
        component, _, option = name.partition(".")
        by_component.setdefault(component, {})[option] = value
    options = {component: PeftOptions(values) for component, values in by_component.items()}
    beside = path.with_name("adapter_config.json")
    if path.name == _PEFT_FILE and beside.is_file() and beside.stat().st_size <= _MAX_BYTES:
        options[""] = PeftOptions(_object(beside.read_text(encoding="utf-8", errors="replace")))
    return options


def _object(text: str) -> dict[str, object]:
    """A JSON object; empty for anything else."""
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
