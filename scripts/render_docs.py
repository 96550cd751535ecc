"""Generate what comes from the code in docs/: errors, settings, command line, fields of a request. A test checks them.

`make docs` runs it; with --check it only reports whether a page is out of date.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import typer.main
from typer.core import TyperGroup

from safelight.cli.app import build_app
from safelight.errors import SafelightError, catalogue
from safelight.generation.fields import FieldDescription, request_fields
from safelight.generation.request import MAX_SEED, GenerationRequest
from safelight.models.checkpoints.layouts import FAMILY_LAYOUTS, FamilyLayout
from safelight.models.families import FAMILIES, Family
from safelight.models.tokenizers.tokenizer_sources import TOKENIZER_SOURCES
from safelight.settings import CHANGEABLE, Settings

DOCS = Path(__file__).parents[1] / "docs"
CLI_INTRODUCTION = """# Command line

Every command but {without_json} takes `--json`: one JSON object on stdout, or one on each line, and nothing
else; progress goes to stderr.

Exit status: 0 done and nothing flagged, 1 something was flagged, 2 wrong usage or input, 3 a failure of Safelight.
"""
FIELDS_START = "<!-- The fields of a request, by scripts/render_docs.py -->"
FIELDS_END = "<!-- End of the fields -->"
FAMILIES_START = "<!-- The families of checkpoints, by scripts/render_docs.py -->"
FAMILIES_END = "<!-- End of the families -->"
FILES_START = "<!-- The families in weights files, by scripts/render_docs.py -->"
FILES_END = "<!-- End of the families in weights files -->"
VALUE_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true, false",
    "array": "list",
    "image": "picture",
}


def errors_page() -> str:
    """The page with a table of all errors."""
    rows = [_error_row(error) for error in catalogue() if error is not SafelightError]
    head = "| code | what it means | what would be right | HTTP | exit |\n|---|---|---|---|---|\n"
    return (
        "# Errors\n\nEvery error a user can meet. The code is stable: programs may rely on it. On the command "
        "line an error is a line on stderr and, with `--json`, an object `error` with `code`, `message` and "
        "`hint`.\n\nAn error about a field of a request also has `field`, the field's path with dots "
        "(`hires.scale`), and `context`, values for a message of one's own; so has the error of a job. The "
        "context has `minimum` (or `above`, which excludes it), `maximum` (or `below`), `multiple` and the "
        "`nearest` that are, the `choices` that there are, the type that is `expected`, the `name` that is "
        "unknown, or the `other` field; about sizes `width` and `height` too. Where several fields are wrong,"
        " `problems` lists all of them, each with `field`, `code`, `message` and `context`. OpenAI's and "
        "A1111's APIs have the code `request.invalid` for every `request.…` about one field.\n\n"
        + head
        + "".join(rows)
    )


def _error_row(error: type[SafelightError]) -> str:
    return f"| `{error.code}` | {error.summary} | {error.default_hint} | {error.http_status} | {error.exit_code} |\n"


def settings_page() -> str:
    """The page with a table of all settings."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "the user data directory" if name == "home" else _default(field.default)
        in_file = "no: it says where the file is" if name == "home" else f"`{name}`"
        live = "yes" if name in CHANGEABLE else ""
        rows.append(
            f"| {in_file} | `SAFELIGHT_{name.upper()}` | {default} | {live} | {field.description} |\n"
        )
    return (
        "# Settings\n\nA setting comes from a flag, else from the environment, else from `safelight.toml` in "
        "the data directory, else it has its default. `SAFELIGHT_HOME` names the data directory.\n\nSettings "
        "that are marked *live* can also be changed while a server runs: by administrators, on the page or "
        "with `PATCH /v1/settings`, without a restart. The database holds such a change; it has precedence "
        "over `safelight.toml`, and the environment and flags have precedence over it.\n\n"
        "| in safelight.toml | in the environment | default | live | what it does |\n|---|---|---|---|---|\n"
        + "".join(rows)
    )


def _default(value: object) -> str:
    return f"`{value}`" if str(value) else "empty"


def cli_page() -> str:
    """The page with the help text of all commands."""
    helps = _helps(command_words())
    without_json = " and ".join(f"`{name}`" for name, text in helps.items() if "--json" not in text)
    sections = [f"\n## safelight {name}\n\n```text\n{text}\n```\n" for name, text in helps.items()]
    return CLI_INTRODUCTION.format(without_json=without_json) + "".join(sections)


def command_words() -> list[tuple[str, ...]]:
    """The words of every command that --help shows, those of groups included, in the order of --help."""
    return list(_words_below(typer.main.get_command(build_app()), ()))


def _words_below(command: object, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if not isinstance(command, TyperGroup):
        yield words
        return
    for name, inner in command.commands.items():
        if not inner.hidden:
            yield from _words_below(inner, (*words, name))


_PRINT_HELPS = """
import io, json, sys
from contextlib import redirect_stdout
from safelight.cli.app import run
helps = {}
for command in sys.argv[1:]:
    with redirect_stdout(io.StringIO()) as out:
        run([*command.split(), "--help"])
    helps[command] = out.getvalue()
print(json.dumps(helps))
"""


def _helps(commands: list[tuple[str, ...]]) -> dict[str, str]:
    """The help text of each command, from one process with the width and the colours of the page."""
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", "TERMINAL_WIDTH": "100"}
    done = subprocess.run(  # noqa: S603  our own command
        [sys.executable, "-c", _PRINT_HELPS, *(" ".join(words) for words in commands)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    helps: dict[str, str] = json.loads(done.stdout)
    return {command: re.sub(r"[ \t]+\n", "\n", text).strip() for command, text in helps.items()}


def generation_page() -> str:
    """The page on generation with its tables between their marks: fields of a request, families, families in files."""
    fields = "| field | value | default | meaning |\n|---|---|---|---|\n" + "".join(
        _field_row(field) for field in request_fields(GenerationRequest)
    )
    families = (
        "| family | name | modes | side | steps | guidance | denoiser | text encoders | autoencoder |\n"
        "|---|---|---|---|---|---|---|---|---|\n"
    ) + "".join(map(_family_row, FAMILIES.values()))
    page = _with_table((DOCS / "generation.md").read_text(), fields, FIELDS_START, FIELDS_END)
    files = (
        "| family | names of tensors | text encoders | autoencoder | tokenizers to pull |\n|---|---|---|---|---|\n"
    ) + "".join(map(_file_row, FAMILY_LAYOUTS))
    page = _with_table(page, files, FILES_START, FILES_END)
    return _with_table(page, families, FAMILIES_START, FAMILIES_END)


def _with_table(page: str, table: str, start: str, end: str) -> str:
    """A page with a table in place of what is between its two marks."""
    before, rest = page.split(start)
    return f"{before}{start}\n\n{table}\n{end}{rest.partition(end)[2]}"


def _file_row(layout: FamilyLayout) -> str:
    names = "the authors', diffusers'" if layout.denoiser.own_keys else "diffusers', which others use too"
    encoders = [slot for slot in layout.slots if slot.component != "vae"]
    optional = {True: " (optional)", False: ""}
    cells = (
        FAMILIES[layout.denoiser.name].title,
        names,
        ", ".join(f"{slot.usual_files[0]}{optional[slot.optional]}" for slot in encoders),
        ", ".join(slot.usual_files[0] for slot in layout.slots if slot.component == "vae"),
        ", ".join(
            f"`tokenizer:{slot.tokenizer}`" for slot in encoders if slot.tokenizer in TOKENIZER_SOURCES
        ),
    )
    return f"| {' | '.join(cells)} |\n"


def _family_row(family: Family) -> str:
    modes = ", ".join(mode.removesuffix("-to-image") for mode in family.modes)
    side = f"{family.side}, or the config's" if family.side_from_config else str(family.side)
    guidance = "none" if family.guidance == "none" else f"{family.guidance_scale:g}"
    table = family.precision
    precisions = (", ".join(right) for right in (table.denoiser, table.text_encoders, table.vae))
    cells = (f"`{family.name}`", family.title, modes, side, str(family.steps), guidance, *precisions)
    return f"| {' | '.join(cells)} |\n"


def _field_row(field: FieldDescription) -> str:
    default = field.default
    shown = "" if default in (None, "", ()) else f"`{json.dumps(default)}`"
    return f"| `{field.path}` | {_value_text(field)} | {shown} | {field.description.replace('<', '&lt;')} |\n"


def _value_text(field: FieldDescription) -> str:
    if field.choices:
        return ", ".join(f"`{choice}`" for choice in field.choices)
    name = VALUE_NAMES[field.schema["type"]]
    if field.minimum is None or field.maximum is None:
        return name
    above = "above " if "exclusiveMinimum" in field.schema else ""
    most = "2^63 - 1" if field.maximum == MAX_SEED else f"{field.maximum:g}"
    return f"{name}, {above}{field.minimum:g} to {most}"


PAGES = {
    "generation.md": generation_page,
    "errors.md": errors_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
}


def main() -> int:
    """Write the pages, or check them."""
    stale = []
    for name, render in PAGES.items():
        path, text = DOCS / name, render()
        if "--check" in sys.argv:
            stale += [name] if not path.exists() or path.read_text() != text else []
        else:
            path.write_text(text)
    if stale:
        sys.stderr.write(f"Out of date: {', '.join(stale)}. Run make docs.\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
