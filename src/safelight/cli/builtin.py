"""The built-in commands, one module each."""

from __future__ import annotations

from safelight.cli import (
    api,
    bench,
    demo,
    doctor,
    edit,
    export,
    generate,
    info,
    jobs,
    keys,
    models,
    moderate,
    plan,
    preprocess,
    reproduce,
    request_options,
    samplers,
    scan,
    segment,
    serve,
    train,
    upscale,
    worker,
)
from safelight.cli.commands import Command
from safelight.plugins import Registry, hookimpl

_COMMANDS = {
    "demo": Command(demo.demo),
    "generate": Command(generate.generate, cls=request_options.TextToImageCommand),
    "edit": Command(edit.edit, cls=request_options.ImageToImageCommand),
    "upscale": Command(upscale.upscale),
    "preprocess": Command(preprocess.preprocess),
    "preprocessors": Command(preprocess.preprocessors),
    "segment": Command(segment.segment),
    "info": Command(info.info),
    "reproduce": Command(reproduce.reproduce),
    "samplers": Command(samplers.samplers),
    "plan": Command(plan.plan),
    "moderate": Command(moderate.moderate),
    "scan": Command(scan.scan),
    "export": Command(export.export),
    "serve": Command(serve.serve),
    "worker": Command(worker.worker),
    "api": Command(api.api, hidden=True),
    "keys": Command(keys.app),
    "jobs": Command(jobs.app),
    "models": Command(models.app),
    "train": Command(train.app),
    "bench": Command(bench.app),
    "doctor": Command(doctor.doctor),
}


@hookimpl
def register_commands(registry: Registry[Command]) -> None:
    """Register every built-in command in the order of --help."""
    for name, command in _COMMANDS.items():
        registry.register(name, command)
