"""Networks that have compiled forms in their place within a picture: of checkpoints, of controls, and of upscalers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial

import torch

from safelight.generation.autoencoder import decodes_with_mask
from safelight.generation.backend_choice import BackendPolicy
from safelight.generation.compiling import compile_cache
from safelight.generation.control.planning import PlannedControl
from safelight.generation.quality import Patching
from safelight.generation.record import Machine
from safelight.generation.upscaling import UpscalerFile
from safelight.generation.upscaling.network import NetworkUpscaler
from safelight.models.checkpoints.discovery import Checkpoint
from safelight.models.checkpoints.loading import CheckpointParts, LoadedCheckpoint
from safelight.models.controls.discovery import ControlModel
from safelight.models.families import Family
from safelight.runtime.backends import BACKENDS, EAGER
from safelight.runtime.compilation.picture_network import Forms, PictureAutoencoder, PictureNetwork
from safelight.runtime.compilation.speed import Speeds, known_speeds
from safelight.runtime.compilation.store import Convert, FormStore
from safelight.runtime.component import Component, parameter_names
from safelight.runtime.pool import ModelPool
from safelight.settings import Settings

CONTROLS = ("controlnet", "controlnet-union")
"""The control networks that get forms: others are called in other ways than by their arguments alone, or once."""
UPSCALER = "upscaler"
"""The name of an upscaler's network among a picture's."""
RELEASED = ("unet", "transformer", "vae")
"""The networks whose weights are released while compiled forms compute everything; pipelines use parts of text
encoders by themselves."""


class CompiledNetworks:
    """The compiled forms of an engine's networks.

    Args:
        settings: The backend, the cache folder.
        device: The device that generates.
        pool: Where forms are kept in memory.
        compiler: Makes what converts forms of a model's networks.
        unlocked: Surrounds waiting for a form: other pictures may be computed meanwhile.

    Attributes:
        store: The forms in memory and on disk.
    """

    def __init__(
        self,
        settings: Settings,
        device: torch.device,
        pool: ModelPool,
        compiler: Callable[[Settings, Checkpoint | UpscalerFile | ControlModel], Convert],
        unlocked: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._settings, self._device, self._pool = settings, device, pool
        self._compiler, self._unlocked = compiler, unlocked
        self.store = FormStore(pool, compile_cache(settings))
        self._speeds: Speeds | None = None

    def policy(self, recorded: Machine | None = None) -> BackendPolicy:
        """What decides which backends compute a picture's networks.

        Args:
            recorded: What a picture's record says, which is to be reproduced.
        """
        return BackendPolicy(self._settings.generation_backend, self._device, recorded, self.speeds)

    def speeds(self) -> Speeds | None:
        """What was measured on this machine, None if nothing was yet."""
        if self._speeds is None:
            self._speeds = known_speeds(self._settings.cache_folder)
        return self._speeds

    def patching(self, family: Family, loaded_for: str) -> Patching:
        """With which patches the denoisers of a family are computed by what computes them without.

        Args:
            family: The family.
            loaded_for: The backend that networks are loaded for.
        """
        if self.policy().considers(family.denoiser):
            return "pure"  # with others, calls go to the slower eager network
        backend = BACKENDS[loaded_for]
        return "any" if backend.patchable or not backend.computes(family.denoiser) else "none"

    def preload(self, parts: CheckpointParts) -> None:
        """Load the compiled forms that were used last for a checkpoint from the disk."""
        policy = self.policy()
        for component, source in parts.sources.items():
            if policy.considers(component) and not source.key.device:
                self.store.preload(source.key, policy.preferred(component, source.key.dtype))

    def upscaler(
        self,
        file: UpscalerFile,
        component: Component,
        until: ExitStack,
        policy: BackendPolicy | None = None,
    ) -> tuple[NetworkUpscaler, PictureNetwork]:
        """An upscaler for one picture, and its network with compiled forms.

        Args:
            file: Its file.
            component: The upscaler in memory.
            until: Closes when the picture ends.
            policy: Decides, within a run, which can be reproduced. Without one forms are used as soon as they are made.
        """
        upscaler = file.named(component)
        module = replace(component, network=upscaler.module, parameters=parameter_names(upscaler.module))
        forms = self._forms(file, policy or self.policy(), until, is_run=policy is not None)
        network = PictureNetwork(UPSCALER, module, forms)
        return replace(upscaler, module=network), network

    def networks(
        self, loaded: LoadedCheckpoint, policy: BackendPolicy, until: ExitStack
    ) -> dict[str, Component]:
        """A checkpoint's networks for one picture, with compiled forms where the policy considers them.

        Args:
            loaded: The checkpoint.
            policy: Decides.
            until: Closes when the picture ends.
        """
        forms = self._forms(loaded.checkpoint, policy, until)
        looking = loaded.family.references
        # What encoders of references compute depends on values among their arguments: the sizes of pictures.
        eager = () if looking is None else looking.components

        def picture_network(name: str, component: Component) -> Component:
            weights = component.weights
            if weights is None:
                return component
            considered = name not in eager and policy.considers(name)
            if not considered or decodes_with_mask(component.network):
                until.enter_context(
                    weights.in_use()
                )  # the network itself: pipelines know some by their class
                return component
            key, may_run = component.key, True
            if name in loaded.family.text_encoders:
                # Embeddings are cached by this key, so all of a picture's calls run on the same backend.
                backend = policy.recorded_backend(name) or self.store.backend_of(key) or EAGER
                key, may_run = replace(key, backend=backend), backend != EAGER
            kind = PictureAutoencoder if hasattr(component.network, "decode") else PictureNetwork
            network = kind(name, component, forms, may_run=may_run)

            weights.on_resize = partial(self._pool.resize, component.key)
            if name in RELEASED:
                until.callback(network.release_weights)
            return replace(component, key=key, network=network)

        return {name: picture_network(name, component) for name, component in loaded.networks.items()}

    def controls(
        self,
        controls: Iterable[PlannedControl],
        networks: Mapping[str, Component],
        policy: BackendPolicy,
        until: ExitStack,
    ) -> dict[str, Component]:
        """The control networks for one picture, with compiled forms where the policy considers them.

        Args:
            controls: The controls of the picture.
            networks: Their networks by name.
            policy: Decides.
            until: Closes when the picture ends.
        """
        found = dict(networks)
        for control in controls:
            component = networks.get(control.name)
            if component is None or component.key.form or not policy.considers(control.name):
                continue
            if control.model.architecture.name in CONTROLS:
                forms = self._forms(control.model, policy, until)
                found[control.name] = replace(
                    component, network=PictureNetwork(control.name, component, forms)
                )
        return found

    def _forms(
        self,
        model: Checkpoint | UpscalerFile | ControlModel,
        policy: BackendPolicy,
        until: ExitStack,
        *,
        is_run: bool = True,
    ) -> Forms:
        """How the networks of a model get compiled forms, within a run, or for work that nobody reproduces."""
        return Forms(
            self.store,
            policy.choose,
            self._compiler(self._settings, model),
            until,
            self._unlocked if is_run else nullcontext,
            policy.collect,
            at_once=not is_run,
        )
