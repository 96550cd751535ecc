"""``safelight models``: list, show, pull, adopt, convert, quantize, compile and remove models."""

from __future__ import annotations

import math
import shutil
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from safelight.cli import remote
from safelight.cli.compile import compile_checkpoint
from safelight.cli.console import JsonOption, byte_progress, print_json, print_line, print_stderr, printable
from safelight.cli.quantize import quantize
from safelight.errors import (
    CheckpointFamilyError,
    CheckpointInvalidError,
    FileMissingError,
    PickleRefusedError,
    SafelightError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from safelight.client.models import Model
    from safelight.models.adapters.description import AdapterDescription
    from safelight.models.checkpoints.discovery import Checkpoint
    from safelight.models.classifiers.classifier_store import ClassifierStore, ModelRecord
    from safelight.models.hub.http_source import HttpSource
    from safelight.models.hub.pull_plan import PullPlan
    from safelight.models.inventory.file_kinds import Component
    from safelight.moderation.classifiers.definition import PackagedClassifier
    from safelight.settings import Settings

UNUSABLE_ERRORS = (CheckpointFamilyError, CheckpointInvalidError, FileMissingError, PickleRefusedError)
"""Errors of a checkpoint that exists and cannot be used."""
app = typer.Typer(help="List, show, pull, adopt, convert, quantize, compile and remove models.")
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A model's name or hub id.", show_default=False)
]


@app.command("list")
def list_models(
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="List the files of one kind instead: checkpoint, denoiser, vae, text encoder, lora, embedding, "
            "controlnet, ip-adapter, upscaler, gguf, pickle …",
            show_default=False,
        ),
    ] = None,
    server: remote.ServerOption = None,
    json: JsonOption = False,
) -> None:
    """List the models on this machine: checkpoints that generate and classifiers that judge."""
    from safelight.models.checkpoints.discovery import find_checkpoints
    from safelight.models.hub.checkpoint_download import hub_cache_folder
    from safelight.settings import Settings

    settings = Settings.load(server=server)
    if kind is not None:
        if settings.server:
            raise UsageError("--kind lists the files on this machine, not those of a server.")
        _list_kind(kind, settings, json)
        return
    if settings.server:
        _list_remote(settings, json)
        return
    problems: list[dict[str, Any]] = []
    found = find_checkpoints(
        settings.home,
        lambda path, error: problems.append({"path": printable(str(path)), "error": error.to_dict()}),
        folders=settings.current_model_folders,
        hub_cache=hub_cache_folder(),
    )
    rows = _classifier_rows(_model_store(settings))
    if json:
        checkpoints = [checkpoint.to_dict() for checkpoint in found]
        print_json({"checkpoints": checkpoints, "models": rows, "problems": problems})
        return
    print_line(typer.style("Checkpoints (generate)", bold=True))
    for checkpoint in found:
        size = f"{checkpoint.size / 1e6:.0f} MB {checkpoint.precision}"
        print_line(f"{printable(checkpoint.name):<28} {size:<14} {checkpoint.family.title}")
    for problem in problems:
        print_line(typer.style(f"{problem['path']}: {problem['error']['message']}", fg="magenta"))
    print_line(typer.style("Classifiers (judge)", bold=True))
    for row in rows:
        print_line(f"{row['name']:<28} {row['state']:<14} {row['repository']}")


def _list_kind(kind: str, settings: Settings, json: bool) -> None:
    """The files of one kind in the data directory and in the model folders."""
    from safelight.models.inventory.folders import list_files
    from safelight.models.inventory.kind_folders import KINDS_BY_NAME, weights_folders

    wanted = KINDS_BY_NAME.get(kind.casefold())
    if wanted is None:
        raise UsageError(f"There is no kind {kind!r}.", hint=f"Give one of: {', '.join(KINDS_BY_NAME)}.")
    folders = weights_folders(settings.home, settings.current_model_folders)
    page = list_files(folders, kind=wanted, limit=sys.maxsize, seconds=math.inf)
    if json:
        print_json({"files": [file.to_dict() for _, file in page.files]})
        return
    for folder, file in page.files:
        name = file.path.relative_to(folder).as_posix()
        size = f"{file.size / 1e6:,.0f} MB {file.precision}"
        print_line(f"{printable(name):<44} {file.family or '':<14} {size}")
        if not file.usable and file.type in ("checkpoint", "denoiser"):
            print_line(typer.style(f"  {printable(file.reason)}", fg="magenta"))


def _list_remote(settings: Settings, json: bool) -> None:
    """The same for a server, whose models have no paths."""
    with remote.connect(settings) as client:
        checkpoints, classifiers = client.models("checkpoint"), client.models("classifier")
    if json:
        names = ("family", "size", "precision", "digest", "default", "loaded_by")
        print_json(
            {
                "checkpoints": [{"name": m.id, "path": None} | _pick(m, names) for m in checkpoints],
                "models": [{"name": m.id, "state": "installed"} | _pick(m, names[1:]) for m in classifiers],
                "problems": [],
            }
        )
        return
    print_line(typer.style("Checkpoints (generate)", bold=True))
    for model in checkpoints:
        size = f"{(model.size or 0) / 1e6:.0f} MB {model.precision}"
        print_line(f"{printable(model.id):<28} {size:<14} {model.family}")
    print_line(typer.style("Classifiers (judge)", bold=True))
    for model in classifiers:
        print_line(f"{model.id:<28} {'installed':<14} {model.owned_by}")


def _pick(model: Model, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(model, name) for name in names}


@app.command()
def families(json: JsonOption = False) -> None:
    """List the families of checkpoints that Safelight supports, and their defaults."""
    from safelight.models.families import FAMILIES

    rows: list[dict[str, Any]] = [
        {
            "name": family.name,
            "title": family.title,
            "modes": list(family.modes),
            "references": None if (found := family.references) is None else found.to_dict(),
            "kind": family.prediction_process,
            "sampler": family.sampler,
            "steps": family.steps,
            "guidance_scale": family.guidance_scale,
            "side": family.side,
            "precision": {
                "denoiser": list(family.precision.denoiser),
                "text_encoders": list(family.precision.text_encoders),
                "vae": list(family.precision.vae),
                "source": family.precision.source,
            },
        }
        for family in FAMILIES.values()
    ]
    if json:
        print_json({"families": rows})
        return
    for row in rows:
        precision = row["precision"]["denoiser"][0]
        print_line(f"{row['name']:<24} {row['title']:<42} {precision}  {', '.join(row['modes'])}")


@app.command()
def show(name: NameArgument, json: JsonOption = False) -> None:
    """Show a model, or any file of weights by name or path: what it is, its parts, precision, metadata and digest."""
    from safelight.moderation.classifiers.definition import CLASSIFIERS

    settings = _load_settings()
    if name in CLASSIFIERS:
        _print_record(_packaged_record(CLASSIFIERS[name]), json)
    elif (store := _model_store(settings)).has(name):
        _print_record(store.record(name), json)
    elif file := _find_weights_file(name, settings):
        _print_weights_file(file, settings, json)
    else:
        _print_checkpoint(_find_checkpoint(name, settings), settings, json)


def _find_weights_file(name: str, settings: Settings) -> Path | None:
    """The file that a path or a name means, where it is not the name of a checkpoint that can be used."""
    from safelight.models.checkpoints.discovery import STARTER, find_path
    from safelight.models.inventory.folders import describe_file, find_file
    from safelight.models.inventory.kind_folders import weights_folders

    folders = settings.current_model_folders
    if place := find_path(name, settings.home, folders):
        found = describe_file(place)
        other = (
            place.is_file() and found and found.type not in ("checkpoint", "denoiser", "unknown", "pickle")
        )
        return place if other else None
    if name.endswith((".safetensors", ".gguf")) and Path(name).is_file():
        return Path(name)
    if name == STARTER or name.startswith((".", "/", "~")):
        return None
    return find_file(name, weights_folders(settings.home, folders))


@app.command()
def pull(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="owner/name[@revision] on the hub, civitai:MODEL[@VERSION], tokenizer:NAME, a page's address, "
            "or an AIR urn.",
            show_default=False,
        ),
    ],
    file: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Take this one file of the repository.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Read the source's token from a file that only you can read, in place of the settings' one.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; nor does --json.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show size and licence.")] = False,
    json: JsonOption = False,
) -> None:
    """Download a checkpoint, LoRA or other weights from the hub or CivitAI, or a classifier from the hub.

    Size and licence are shown first. A download that was cut off is continued by the same command. This is the only
    command here that uses the network.
    """
    from safelight.models.classifiers.classifier_store import PINNED_SOURCES
    from safelight.models.hub.pull import plan_pull, source_of
    from safelight.models.hub.references import HubReference, parse_reference

    settings = _load_settings()
    print_stderr(f"Looking for {printable(name)} …")
    if name in PINNED_SOURCES:
        if dry_run or file is not None:
            raise UsageError(f"{name} is a classifier, which is pulled whole: without --dry-run and --file.")
        hub = source_of(HubReference(PINNED_SOURCES[name].repository), settings, token_file)
        _pull_classifier(name, hub, settings, json)
        return
    reference = parse_reference(name, file)
    source = source_of(reference, settings, token_file)
    plan = plan_pull(reference, source)
    if plan is None:
        if name != getattr(reference, "name", None):
            raise UsageError(f"{name} is a classifier, which is pulled by owner/name alone.")
        if dry_run:
            raise UsageError(f"{name} is a classifier, which is pulled without --dry-run.")
        _pull_classifier(name, source, settings, json)
        return
    if dry_run and json:
        print_json(plan.to_dict())
        return
    if not json or dry_run:
        _print_plan(plan)
    if dry_run:
        return
    if not (yes or json or _may_pull()):
        print_stderr("Nothing was downloaded.")
        return
    _run_pull(plan, settings, json)


def _pull_classifier(name: str, hub: HttpSource, settings: Settings, json: bool) -> None:
    from safelight.models.hub.classifier_download import download_classifier

    store = _model_store(settings)
    before = {record.name: record for record in store.records()}.get(name)
    record = store.pull(name, partial(download_classifier, hub=hub))
    for file, digest in before.files.items() if before else ():
        if record.files.get(file) != digest:
            print_stderr(f"{file} has changed since the last pull: it had SHA-256 {digest}.")
    _print_record(record, json)


def _print_plan(plan: PullPlan) -> None:
    """What is going to be downloaded, on stderr."""
    print_stderr(f"{printable(plan.title)} ({plan.reference}): {plan.kind or plan.contents}")
    print_stderr(f"  licence: {printable(plan.licence or 'not stated')}{', gated' if plan.gated else ''}")
    if plan.gated and plan.source.token is None:
        print_stderr("  It is given only with a token of somebody who accepted its terms: --token-file FILE")
    if words := plan.notes.get("activation text"):
        print_stderr(f"  trigger words: {printable(str(words))}")
    shown = (
        plan.files if len(plan.files) <= 20 else sorted(plan.files, key=lambda each: -(each.size or 0))[:10]
    )
    for file in shown:
        size = "size not stated" if file.size is None else f"{file.size / 1e6:,.1f} MB"
        print_stderr(f"  {printable(file.name)}  {size}")
    if len(shown) < len(plan.files):
        print_stderr(f"  and {len(plan.files) - len(shown)} smaller ones")
    least = "at least " if any(file.size is None for file in plan.files) else ""
    print_stderr(
        f"  {least}{plan.size / 1e6:,.1f} MB in {len(plan.files)} file{'s' if len(plan.files) != 1 else ''}"
    )


def _may_pull() -> bool:
    """The answer to a question on the terminal.

    Raises:
        UsageError: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("There is no terminal to ask on.", hint="Give --yes to download it.")
    return typer.confirm("Download it?", default=True, err=True)


def _run_pull(plan: PullPlan, settings: Settings, json: bool) -> None:
    from safelight.models.hub.pull import pull as pull_model

    with byte_progress(printable(plan.name), plan.size) as advance:
        done = pull_model(plan, settings, on_progress=advance)
    for remark in done.remarks:
        print_stderr(printable(remark))
    if json:
        print_json(plan.to_dict() | done.to_dict())
        return
    state = "is here already" if done.present else f"{done.size / 1e6:,.1f} MB"
    family = f" for {done.family}" if done.family and done.kind != "checkpoint" else ""
    print_line(f"{printable(done.name)}: {done.kind}{family}, {state}, all digests checked")
    print_line(f"  {printable(str(done.path))}")


@app.command()
def adopt(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder of models, or ComfyUI's extra_model_paths.yaml.", show_default=False
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what is there.")] = False,
    json: JsonOption = False,
) -> None:
    """Use the models of another program where they are: show each file, and add the folder to the settings."""
    from safelight.models.inventory.folders import FoundFile, add_model_folders, folders_of, inspect_folder

    settings = _load_settings()
    folders = folders_of(folder)
    if not folders:
        raise UsageError(f"None of the folders in {folder} exists.")
    files: dict[Path, FoundFile] = {}
    for each in folders:
        for found in inspect_folder(each):
            files.setdefault(found.path.resolve(), found)  # links, and folders within each other
    if not dry_run:
        add_model_folders(settings.home, folders)
    if json:
        print_json(
            {
                "folders": [str(each) for each in folders],
                "files": [found.to_dict() for found in files.values()],
                "added": not dry_run,
            }
        )
        return
    for found in files.values():
        size = f"{found.size / 1e6:,.0f} MB {found.precision}"
        print_line(f"{found.type:<13} {found.family or '':<14} {size:<16} {printable(str(found.path))}")
        if not found.usable:
            print_line(typer.style(f"{'':<13} {printable(found.reason)}", fg="magenta"))
    usable = [found.type in ("checkpoint", "denoiser") for found in files.values() if found.usable]
    print_line(
        f"Files: {len(files)}; usable checkpoints: {usable.count(True)}, "
        f"other usable files: {usable.count(False)}."
    )
    if not dry_run:
        print_line("Added to model_folders in safelight.toml; a server that runs uses it at once.")


@app.command()
def convert(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A .ckpt, .pt, .pth, .bin or .pkl file.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="The new .safetensors file; beside FILE if not given."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the new file if it exists.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Convert old weights, which are a pickle, to safetensors; nothing in the pickle is run."""
    from safelight.models.pickles.convert import convert_pickle

    print_stderr(f"Converting {printable(str(file))} …")
    done = convert_pickle(file, out, overwrite=overwrite)
    if not (done.no_network and done.limits):
        print_stderr("This system cannot take the network and unlimited memory from the converting process.")
    if json:
        print_json(done.to_dict())
        return
    print_line(
        f"Wrote {printable(str(done.path))}: {done.tensors} tensors, {done.size / 1e6:.1f} MB {done.precision}."
    )
    if done.left_out:
        print_line(f"Left out, as no weights: {printable(', '.join(done.left_out[:8]))}.")


app.command()(quantize)
app.command("compile")(compile_checkpoint)


@app.command()
def remove(name: NameArgument, json: JsonOption = False) -> None:
    """Delete a pulled classifier, or a checkpoint or other file of the data directory, even where it is damaged."""
    settings = _load_settings()
    store = _model_store(settings)
    if store.has(name):
        record = store.remove(name)
        body: dict[str, Any] = record.to_dict() if record else {"name": name}
    else:
        body = _remove_checkpoint(name, settings)
    if json:
        print_json({"removed": body})
    else:
        print_line(f"Removed {printable(name)}.")


def _remove_checkpoint(name: str, settings: Settings) -> dict[str, Any]:
    """Delete a checkpoint from the data directory; the starter and checkpoints elsewhere are refused."""
    from safelight.models.checkpoints.discovery import checkpoints_folder, describe_checkpoint, find_path
    from safelight.models.inventory.folders import find_file
    from safelight.models.inventory.kind_folders import weights_folders

    place = find_path(name, settings.home, settings.current_model_folders)
    if place is None and (file := find_file(name, weights_folders(settings.home, ()))) is not None:
        file.unlink()
        return {"name": name, "path": str(file)}
    if place is None:
        return _remove_from_hub_cache(name, settings)
    if not place.parent.resolve().is_relative_to(checkpoints_folder(settings.home).resolve()):
        raise UsageError(f"{name} lies outside the data directory and stays where it is.")
    try:
        body = describe_checkpoint(place, name).to_dict()
    except SafelightError:  # damaged, or a pickle: deleted too
        body = {"name": name, "path": str(place)}
    if place.is_dir() and not place.is_symlink():
        # Renamed first, so that a partly deleted folder is never listed.
        doomed = place.with_name(f".{place.name}.removed")
        shutil.rmtree(doomed, ignore_errors=True)  # left over from an interrupted removal
        shutil.rmtree(place.rename(doomed))
        if place.parent != checkpoints_folder(settings.home):
            with suppress(OSError):  # other checkpoints are in it
                place.parent.rmdir()
    else:
        place.unlink()
    return body


def _remove_from_hub_cache(name: str, settings: Settings) -> dict[str, Any]:
    from safelight.models.hub.checkpoint_download import hub_cache_folder, remove_cached

    body: dict[str, Any] = {"name": name, "path": str(hub_cache_folder())}
    try:
        checkpoint = _find_checkpoint(name, settings)
    except UNUSABLE_ERRORS:  # deleted too
        pass
    else:
        if checkpoint.kind != "hub":
            raise UsageError(f"{name} is not in the data directory's checkpoints and stays where it is.")
        body = checkpoint.to_dict()
    remove_cached(name)
    return body


def _classifier_rows(store: ClassifierStore) -> list[dict[str, object]]:
    from safelight.models.classifiers.classifier_store import PINNED_SOURCES
    from safelight.moderation.classifiers.definition import CLASSIFIERS

    records = store.records()
    here = {record.name for record in records}
    rows: list[dict[str, object]] = [
        {"name": each.name, "state": "built in", "size": None, "repository": each.package}
        for each in CLASSIFIERS.values()
    ]
    rows += [{"name": r.name, "state": "pulled", "size": r.size, "repository": r.repository} for r in records]
    rows += [
        {"name": name, "state": "can be pulled", "size": None, "repository": source.repository}
        for name, source in PINNED_SOURCES.items()
        if name not in here
    ]
    return rows


def _packaged_record(classifier: PackagedClassifier) -> ModelRecord:
    """The record of a classifier whose weights are in a package, not in the store."""
    from importlib.metadata import distribution

    from safelight.models.classifiers.classifier_store import ModelRecord

    package = distribution(classifier.package)
    file = Path(str(package.locate_file(classifier.weights)))
    digests = {file.name: classifier.digest}
    size = file.stat().st_size
    return ModelRecord(classifier.name, classifier.package, package.version, digests, size, "")


def _find_checkpoint(name: str, settings: Settings) -> Checkpoint:
    from safelight.models.checkpoints.discovery import find_checkpoint
    from safelight.models.classifiers.classifier_store import PINNED_SOURCES
    from safelight.models.hub.checkpoint_download import hub_lookup

    if name in PINNED_SOURCES:
        _model_store(settings).record(name)  # its error says how to pull it
    return find_checkpoint(
        name, settings.home, folders=settings.current_model_folders, hub_lookup=hub_lookup()
    )


def _load_settings() -> Settings:
    from safelight.settings import Settings

    return Settings.load()


def _model_store(settings: Settings) -> ClassifierStore:
    from safelight.models.classifiers.classifier_store import ClassifierStore

    return ClassifierStore(settings.models_folder)


def _print_record(record: ModelRecord, json: bool) -> None:
    if json:
        print_json(record.to_dict())
        return
    print_line(f"{record.name}: {record.repository} at {record.revision}, {record.size / 1e6:.1f} MB")
    for file, digest in record.files.items():
        print_line(f"  {file}  sha256 {digest}")


def _print_weights_file(path: Path, settings: Settings, json: bool) -> None:
    """A file of any kind; of a checkpoint that can be used also what ``_print_checkpoint`` says."""
    from safelight.models.digests import file_digest
    from safelight.models.inventory.weights_file import describe_weights_file

    file = describe_weights_file(path)
    checkpoint = None
    problem: SafelightError | None = None
    if file.found.kind in ("checkpoint", "denoiser"):
        try:
            checkpoint = _find_checkpoint(str(path), settings)
        except UNUSABLE_ERRORS as error:
            problem = error
    digest = file_digest(path, settings.cache_folder)
    if json:
        usable = checkpoint.to_dict() | {"modes": list(checkpoint.family.modes)} if checkpoint else {}
        body = file.to_dict() | usable | {"digest": digest}
        print_json(body | ({"error": problem.to_dict()} if problem else {}))
        return
    if checkpoint:
        _print_checkpoint(checkpoint, settings, json=False)
    else:
        link = "of the kind" if file.found.kind in ("text encoder", "autoencoder") else "for"
        family = f" {link} {file.found.family}" if file.found.family else ""
        print_line(f"{printable(str(path))}: {file.found.kind}{family}, {file.size / 1e6:.1f} MB")
        print_line(f"  sha256 {digest}")
        if file.adapter:
            _print_adapter(file.adapter)
        _print_components(file.found.components)
    print_line(f"  {', '.join(f'{name} {size / 1e6:.1f} MB' for name, size in file.precisions.items())}")
    if file.trigger_words:
        print_line(f"  trigger words: {printable(', '.join(file.trigger_words))}")
    if file.training_tags:
        tags = (f"{tag} {count}" for tag, count in list(file.training_tags.items())[:10])
        print_line(f"  training tags: {printable(', '.join(tags))}")
    for name, value in sorted(file.metadata.items()):
        if not name.startswith("ss_tag_frequency"):
            print_line(f"  {printable(name)}: {printable(value[:100])}")
    if problem:
        print_line(typer.style(printable(problem.message), fg="magenta"))


def _print_adapter(adapter: AdapterDescription) -> None:
    if not adapter.layers:
        print_line(f"  vectors: {adapter.rank}")
        return
    rank = f" of rank {adapter.rank}" if adapter.rank else ""
    layers = "1 layer" if adapter.layers == 1 else f"{adapter.layers} layers"
    print_line(f"  {', '.join(adapter.kinds)}{rank}, {layers} with {adapter.key_style} names")


def _print_components(components: Iterable[Component]) -> None:
    for part in components:
        print_line(
            f"  {part.name}: {part.tensors} tensors, {part.elements:,} weights, {part.size / 1e6:.1f} MB"
        )


def _print_checkpoint(checkpoint: Checkpoint, settings: Settings, json: bool) -> None:
    from safelight.models.inventory.weights_file import checkpoint_components

    family = checkpoint.family
    digest = checkpoint.digest(settings.cache_folder)
    components = checkpoint_components(checkpoint)
    if json:
        parts = {"components": [part.to_dict() for part in components]}
        print_json(checkpoint.to_dict() | {"digest": digest, "modes": list(family.modes)} | parts)
        return
    print_line(
        f"{printable(checkpoint.name)}: {family.title}, {checkpoint.size / 1e6:.1f} MB {checkpoint.precision}"
    )
    print_line(f"  {printable(str(checkpoint.path))}")
    print_line(f"  sha256 {digest}")
    print_line(
        f"  {', '.join(family.modes)}; {family.steps} steps of {family.sampler}, guidance {family.guidance_scale:g}"
    )
    _print_components(components)
    for each in checkpoint.parts:
        if each.path != checkpoint.path:
            others = f" ({', '.join(each.others)} would fit too)" if each.others else ""
            print_line(f"  {each.component} is from {printable(f'{each.path}{others}')}")
