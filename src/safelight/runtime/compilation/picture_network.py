"""A network within one picture: its calls are computed by compiled forms where there are some, else eagerly.

For each shape of its calls a picture decides once, so that it can be reproduced: a form that gets ready meanwhile is
used from the next picture on. Only a picture without a record may change within it (``Forms.at_once``). What ran is
kept for the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.overrides import _get_current_function_mode_stack

from safelight.errors import BackendError
from safelight.runtime.backends import EAGER, BackendPlan
from safelight.runtime.calls import Call
from safelight.runtime.compilation.form import FormNetwork
from safelight.runtime.compilation.store import Convert, FormStore, LoadedForm, Wanted
from safelight.runtime.compilation.values import NetworkCall, UnsupportedValueError
from safelight.runtime.component import Component, Patch, PurePatch
from safelight.runtime.proxy import NetworkProxy


@dataclass(frozen=True)
class Choice:
    """What is to compute the calls of a shape.

    Args:
        plan: The backend, its precision and threads; the backend eager for none.
        required: Whether the user named the backend, so that it is an error if it cannot be used.
        wait: Whether to wait until the form is made, instead of computing eagerly meanwhile.
        least_speedup: How many times as fast as the eager network a form has to be.
        fallbacks: What is used, the first one first, where the plan cannot be.
    """

    plan: BackendPlan
    required: bool = False
    wait: bool = False
    least_speedup: float = 0.0
    fallbacks: tuple[BackendPlan, ...] = ()


Choose = Callable[[str, Component, NetworkCall], Choice]
"""Decides what is to compute a component's calls, by its name, the component and an example."""


@dataclass(frozen=True)
class Forms:
    """How a picture's networks get compiled forms.

    Args:
        store: Where forms are.
        choose: Decides.
        convert: Converts a form of the checkpoint.
        until: Closes when the picture ends, and ends the leases of its forms.
        waiting: Surrounds waiting for a form: other pictures may be computed meanwhile.
        collect: Gets the forms that the picture would use, which is computed eagerly; None for a usual picture.
        at_once: Whether a form is made as soon as a second call of its shape comes, and used once it is ready.
    """

    store: FormStore
    choose: Choose
    convert: Convert
    until: ExitStack
    waiting: Callable[[], AbstractContextManager[object]] = nullcontext
    collect: Callable[[Wanted], None] | None = None
    at_once: bool = False


class PictureNetwork(NetworkProxy):
    """A network within one picture.

    Args:
        name: The component's name.
        component: The eager component.
        forms: How it gets compiled forms.
        may_run: Whether forms may compute its calls in this picture; otherwise they are made for the next one.

    Attributes:
        ran: What computed its calls, by method and shapes (``NetworkCall.place``).
        calls: How many of its calls each backend computed.
        was_eager: Whether the eager network was used, and not compiled forms alone.
    """

    def __init__(self, name: str, component: Component, forms: Forms, *, may_run: bool = True) -> None:
        super().__init__(component.network)
        self._name, self._component, self._forms, self._may_run = name, component, forms, may_run
        self._chosen: dict[str, Component] = {}
        self._asked: set[str] = set()
        self._is_patched = False
        self.ran: dict[str, BackendPlan] = {}
        self.calls: Counter[str] = Counter()
        self.was_eager = False

    def forward(self, *args: object, **kwargs: object) -> object:
        """The network's result."""
        return self._compute("forward", args, kwargs)

    def dispatch(self, call: Call) -> Call:
        """A call of this network as a call of the component that computes it."""
        if not all(isinstance(patch, PurePatch) for patch in call.patches):
            self._note_eager(_shape_of(call))
            return replace(call, component=self._eager("forward"))
        component = self._component_for("forward", call.args, call.kwargs, call.patches)
        return replace(call, component=component, patches=call.patches if component.patchable else ())

    def in_memory(self) -> nn.Module:
        """The eager network with its weights, for what looks into it or changes it."""
        weights = self._component.weights
        if weights is not None and not self.was_eager:
            self._forms.until.enter_context(weights.in_use())
        self.was_eager = True
        network: nn.Module = self.network
        return network

    @contextmanager
    def computing_eagerly(self) -> Iterator[None]:
        """Use no form within the block, because the network is changed."""
        before, self._is_patched = self._is_patched, True
        try:
            yield
        finally:
            self._is_patched = before

    def release_weights(self) -> None:
        """Release the eager network's weights if compiled forms computed everything; called as the picture ends."""
        if self._component.weights is not None and self.ran and not self.was_eager:
            self._component.weights.release()

    def _compute(self, method: str, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Any:
        return self._component_for(method, args, kwargs).network(*args, **kwargs)

    def _component_for(
        self,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        patches: tuple[Patch, ...] = (),
    ) -> Component:
        """What computes a call.

        The patches are compiled into a form, which is not patchable itself.
        """
        found = self._find_component(method, args, kwargs, patches)
        self.calls[found.key.backend] += 1
        return found

    def _find_component(
        self,
        method: str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        patches: tuple[Patch, ...],
    ) -> Component:
        """The same for all calls of a shape, with the same patches, within the picture."""
        try:
            call = NetworkCall.of(self.network, method, args, kwargs, patches)
        except UnsupportedValueError:
            self._note_eager(method)
            return self._eager(method)
        if self._is_patched or _computes_otherwise():
            self._note_eager(call.place)
            return self._eager(method)
        signature = call.signature
        if signature in self._chosen:
            return self._chosen[signature]
        component, is_final = self._decide(call)
        if is_final:
            self._chosen[signature] = component
        return component

    def _decide(self, call: NetworkCall) -> tuple[Component, bool]:
        """What computes a call, and whether it computes all others of this shape too."""
        place = call.place
        choice = self._forms.choose(self._name, self._component, call)
        if choice.plan.backend == EAGER:
            self._note_eager(place)
            return self._eager(call.method), True
        wanted = Wanted(
            self._name,
            self._component.key,
            call,
            choice.plan,
            self._forms.convert,
            choice.least_speedup,
            self._component.nbytes,
            choice.fallbacks,
        )
        if self._forms.collect is not None:
            self._forms.collect(wanted)
            self._note_eager(place)
            return self._eager(call.method), True
        is_final = True
        for each in wanted.plans():
            if (loaded := self._lease(each, wait=choice.wait)) is not None:
                self.ran.setdefault(place, each.plan)
                return self._form_component(each, loaded), True
            problem = self._forms.store.problem(each)
            if problem and choice.required and not call.patches:
                raise BackendError(
                    f"{each.plan.backend} cannot run the {self._name}: {problem}",
                    hint=f"Set generation_backend to auto or {EAGER}.",
                )
            if not problem:
                is_final = not self._forms.at_once
                self._request(each)
                break
        self._note_eager(place)
        return self._eager(call.method), is_final

    def _request(self, wanted: Wanted) -> None:
        """Have a form made: after this picture, or now if it is of use within it."""
        signature = wanted.call.signature
        if signature in self._asked:
            self._forms.store.request(wanted)
        else:
            self._asked.add(signature)
            self._forms.until.callback(self._forms.store.request, wanted)

    def _lease(self, wanted: Wanted, *, wait: bool) -> LoadedForm | None:
        """A form for this picture; None if there is none."""
        if not self._may_run:
            return None
        store, until = self._forms.store, self._forms.until
        loaded = store.lease(wanted, until)
        if loaded is None and wait:
            with self._forms.waiting():
                store.make(wanted)
            loaded = store.lease(wanted, until)
        return loaded

    def _form_component(self, wanted: Wanted, loaded: LoadedForm) -> Component:
        network = FormNetwork(self.network, wanted.call.method, loaded.form, loaded.result)
        parameters = self._component.parameters
        return Component(wanted.pool_key, network, 0, parameters, patchable=False, joins=False)

    def _eager(self, method: str) -> Component:
        network = self.in_memory()
        if method == "forward":
            return self._component
        return replace(self._component, network=getattr(network, method))

    def _note_eager(self, place: str) -> None:
        self.ran.setdefault(place, BackendPlan(EAGER, self._component.key.dtype, 1))


def _computes_otherwise() -> bool:
    """Whether this thread is in a mode that changes what networks compute, such as sliced attention."""
    return any(getattr(mode, "changes_networks", True) for mode in _get_current_function_mode_stack())


def _shape_of(call: Call) -> str:
    first: Any = next(iter(call.arguments.values()))
    return "x".join(map(str, getattr(first, "shape", ())))


class PictureAutoencoder(PictureNetwork):
    """An autoencoder within one picture."""

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """The latents of pixels."""
        return self._compute("encode", args, kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The pixels of latents."""
        return self._compute("decode", args, kwargs)
