"""Inductor, PyTorch's compiler, ahead of time: a shared library for each call, with the weights appended to it."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor
from torch._inductor import aot_compile
from torch._inductor.cpp_builder import get_cpp_compiler
from torch._inductor.exc import InvalidCxxCompiler

from safelight.errors import BackendError
from safelight.runtime.backends import BackendPlan
from safelight.runtime.backends.cuda_graph import GraphedForm
from safelight.runtime.compilation.form import CompiledForm, last_line
from safelight.runtime.compilation.real_rotary import real_rotary
from safelight.runtime.compilation.values import CallModule
from safelight.runtime.mapped_pages import release_appended

_LIBRARY = "model.so"


@contextmanager
def _without_spaces(folder: Path) -> Iterator[Path]:
    """A path of the folder, by a link: torch gives paths with spaces to the compiler in pieces."""
    with TemporaryDirectory() as links:
        link = Path(links) / "form"
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield link


class InductorForm:
    """A shared library in memory.

    Args:
        runner: Runs it.
        device: Where it computes.
        nbytes: Bytes of its weights.
    """

    def __init__(self, runner: Any, device: torch.device, nbytes: int) -> None:
        self._runner, self._device, self.nbytes = runner, device, nbytes

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See ``CompiledForm.run``."""
        # The library reads memory as the example had it: contiguous, on its device.
        results: list[Tensor] = self._runner.run([each.to(self._device).contiguous() for each in tensors])
        return results


class InductorForms:
    """Compiles a network's call to a shared library, and loads it."""

    def check(self) -> None:
        """Refuse a machine without a C++ compiler. See ``FormEngine.check``."""
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler as error:
            raise BackendError(
                "inductor needs a C++ compiler, and none was found.",
                hint="Install g++ or clang++, or name one in the environment variable CXX.",
            ) from error

    def convert(self, call: CallModule, example: tuple[Tensor, ...], folder: Path) -> None:
        """Export the call and compile it. See ``FormEngine.convert``.

        Raises:
            BackendError: There is no C++ compiler, or the call cannot be exported or compiled.
        """
        self.check()
        example = tuple(tensor.contiguous() for tensor in example)
        on_cpu = all(tensor.device.type == "cpu" for tensor in call.parameters())
        options: dict[str, Any] = {
            "freezing": on_cpu,  # weights are packed for oneDNN's kernels, which pays on CPUs only
            "cpp.dynamic_threads": True,
            "aot_inductor.force_mmap_weights": True,
            "aot_inductor.package": False,
        }
        try:
            is_complex = isinstance(call.network, ZImageTransformer2DModel)
            with (
                warnings.catch_warnings(action="ignore"),
                torch.no_grad(),
                real_rotary() if is_complex else nullcontext(),
                _without_spaces(folder) as path,
            ):
                options["aot_inductor.output_path"] = str(path / _LIBRARY)
                call(*example)  # tables that networks compute at their first call are constants then
                program = torch.export.export(call, example)
                aot_compile(program.module(), example, options=options)
            for left in folder.iterdir():
                if left.name != _LIBRARY:  # the sources
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        except Exception as error:  # whatever exporting, lowering and the compiler raise
            raise BackendError(f"inductor cannot convert it: {last_line(error)}") from error

    def load(self, folder: Path, plan: BackendPlan) -> CompiledForm:
        """Load the library; its weights are copied from the mapped file, which takes no memory then.

        A process that loaded the library before it was moved cannot load it again: it knows it by its first name.

        Raises:
            RuntimeError: The files cannot be used.
        """
        path, device = folder / _LIBRARY, torch.device(plan.device)
        match device.type:
            case "cpu":
                runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(path), 1)
            case "cuda":
                runner = torch._C._aoti.AOTIModelContainerRunnerCuda(str(path), 1, plan.device)
            case _:
                runner = torch._C._aoti.AOTIModelContainerRunnerXpu(str(path), 1, plan.device)
        release_appended(path)
        form = InductorForm(runner, device, path.stat().st_size)
        return GraphedForm(form, device) if device.type == "cuda" else form
