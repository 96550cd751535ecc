"""The networks of preprocessors: files in OpenVINO's format, with pinned digests, which the model pool keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safelight.errors import DigestMismatchError, ExtraMissingError, ModelInvalidError, RunStoppedError
from safelight.generation.control.preprocessors.preprocessor import Pixels, PreprocessContext
from safelight.runtime.component import Component, ComponentKey, ComponentSource
from safelight.runtime.machine import usable_cores
from safelight.settings import Settings

_ASK_AFTER = 50
"""Milliseconds between two questions whether to stop."""


@dataclass(frozen=True)
class CompiledNetwork:
    """A network that OpenVINO has compiled for the CPU, in fp32. Thread-safe.

    Args:
        compiled: OpenVINO's compiled model, with an input "pixels".
    """

    compiled: Any

    def run(self, pixels: Pixels, context: PreprocessContext) -> dict[str, NDArray[np.float32]]:
        """The outputs by name for one picture; the first axis of each is the batch of one.

        Args:
            pixels: uint8 [height, width, 3].
            context: What is asked whether to stop, also while the network computes.

        Raises:
            RunStoppedError: ``should_stop`` returned True.
        """
        request = self.compiled.create_infer_request()
        request.start_async({"pixels": np.ascontiguousarray(pixels)[np.newaxis]})
        try:
            while not request.wait_for(_ASK_AFTER):
                context.check_not_stopped()
        except RunStoppedError:
            request.cancel()
            raise
        return {output.any_name: request.get_tensor(output).data.copy() for output in self.compiled.outputs}


@dataclass(frozen=True)
class NetworkFile:
    """A network in a package.

    Args:
        title: Its name for people.
        package: The package that has it.
        stem: The name of its two files there, without suffix.
        graph_digest: SHA-256 of the graph, NAME.xml.
        weights_digest: SHA-256 of the weights, NAME.bin.
        nbytes: Bytes that it takes in memory, its weights being kept in fp16 and computed in fp32.
        extra: The optional extra that installs the package; empty: it is Safelight's own.
    """

    title: str
    package: str
    stem: str
    graph_digest: str
    weights_digest: str
    nbytes: int
    extra: str = ""

    def is_installed(self, _: Settings) -> bool:
        """Whether its package is installed; see ``Preprocessor.available``."""
        return find_spec(self.package) is not None

    @contextmanager
    def lease(self, context: PreprocessContext, room: int = 0) -> Iterator[CompiledNetwork]:
        """The network, for use within the block; it stays in the pool as long as the memory budget allows.

        Args:
            context: The pool, if there is one.
            room: Bytes that it takes while it computes.

        Raises:
            ExtraMissingError: The package is not installed.
            ModelInvalidError, DigestMismatchError: Its files are missing, or others than the pinned ones.
            MemoryBudgetError: It does not fit the pool.
        """
        if context.pool is None:
            yield self._load(context)
            return
        key = ComponentKey(self.weights_digest, "fp32", "openvino")
        source = ComponentSource(
            key, self.nbytes, lambda: Component(key, self._load(context), self.nbytes, patchable=False)
        )
        with context.pool.lease([source], room) as (component,):
            yield component.network

    def _load(self, context: PreprocessContext) -> CompiledNetwork:
        import openvino as ov

        graph = self._read(".xml", self.graph_digest)
        weights = self._read(".bin", self.weights_digest)
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": context.settings.threads or usable_cores(),
        }
        core = ov.Core()
        model = core.read_model(graph, ov.Tensor(np.frombuffer(weights, np.uint8)))
        return CompiledNetwork(core.compile_model(model, "CPU", options))

    def _read(self, suffix: str, digest: str) -> bytes:
        """A file of the network.

        Raises:
            ExtraMissingError, ModelInvalidError, DigestMismatchError: As in ``lease``.
        """
        try:
            data = files(self.package).joinpath(f"{self.stem}{suffix}").read_bytes()
        except (OSError, ModuleNotFoundError) as error:
            if self.extra:
                raise ExtraMissingError(
                    f"{self.title} is not installed: its weights are an optional extra.",
                    hint=f"pip install 'safelight[{self.extra}]', or its package in packages/ of a clone.",
                ) from error
            raise ModelInvalidError(
                f"The files of {self.title} are not where Safelight keeps them.",
                hint="Install Safelight again.",
            ) from error
        if sha256(data).hexdigest() != digest:
            raise DigestMismatchError(
                f"{self.stem}{suffix} of {self.title} is another file than the pinned one."
            )
        return data
