"""Which cards there are, and which number CUDA gives them in this process.

NVML counts all cards by bus; CUDA counts only what CUDA_VISIBLE_DEVICES leaves, in the order written there, and takes
one MIG instance at most. Everything else in this room is keyed by UUID, so this translation is made once, here.

Rules of CUDA: "Environment Variables" of the CUDA programming guide (an invalid entry hides itself and all after it, an
abbreviated UUID must be unique, an empty value hides all) and "Device Enumeration" of the MIG user guide (with an
instance in sight, that one instance is all that CUDA counts).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from channelscribe.gpu.nvml import Nvml, Trouble, attempt, text


@dataclass(frozen=True, slots=True)
class Instance:
    """A MIG instance. `legacy`: its name under drivers before R470, MIG-<card>/<GPU instance>/<compute instance>."""

    uuid: str
    legacy: str
    handle: Any = None


@dataclass(frozen=True, slots=True)
class Physical:
    """A card as NVML counts it: `index` by bus, `instances` empty unless MIG is on."""

    uuid: str
    name: str
    index: int
    handle: Any = None
    mig: bool = False
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """What CUDA calls a device: a whole card, or one instance of it."""

    physical: Physical
    instance: Instance | None = None

    @property
    def uuid(self) -> str:
        return self.instance.uuid if self.instance else self.physical.uuid


def list_cards(nvml: Nvml) -> tuple[Physical, ...]:
    """All cards in NVML's order; one that does not answer is left out. Raises NvmlError when none can be counted."""
    found = (attempt(_card, nvml, index) for index in range(nvml.ask("nvmlDeviceGetCount")))
    return tuple(card for card in found if not isinstance(card, Trouble))


def visible(cards: Sequence[Physical], environment: Mapping[str, str]) -> tuple[Seen, ...]:
    """What CUDA counts, in its order; position is ordinal. Numbers are read in NVML's order (see `ambiguous`)."""
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    seen = tuple(_defaults(cards) if wanted is None else _named(wanted, cards))
    first_instance = next((s for s in seen if s.instance), None)
    return (first_instance,) if first_instance else seen


def ambiguous(cards: Sequence[Physical], environment: Mapping[str, str]) -> bool:
    """Whether numbers cannot be told from here: unlike cards, which CUDA by default counts from its fastest on."""
    by_bus = environment.get("CUDA_DEVICE_ORDER", "").strip().upper() == "PCI_BUS_ID"
    if by_bus or len({card.name for card in cards}) < 2:
        return False
    wanted = environment.get("CUDA_VISIBLE_DEVICES")
    return wanted is None or _form(wanted.strip()) == "number"


def named(cards: Sequence[Physical], uuid: str) -> Seen | None:
    """The card or instance of that UUID; its beginning is enough where only one begins so."""
    wanted = uuid.strip().lower()
    if wanted in ("", "gpu-", "mig-"):
        return None
    everything = [*(Seen(c) for c in cards), *(Seen(c, i) for c in cards for i in c.instances)]
    exact = [s for s in everything if wanted in _names(s)]
    found = exact or [s for s in everything if any(name.startswith(wanted) for name in _names(s))]
    return found[0] if len({s.uuid for s in found}) == 1 else None


def _card(nvml: Nvml, index: int) -> Physical:
    handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
    uuid, name = text(nvml.ask("nvmlDeviceGetUUID", handle)), text(nvml.ask("nvmlDeviceGetName", handle))
    mode = attempt(nvml.ask, "nvmlDeviceGetMigMode", handle)
    mig = not isinstance(mode, Trouble) and bool(mode[0])
    return Physical(uuid, name, index, handle, mig, tuple(_instances(nvml, handle, uuid)) if mig else ())


def _instances(nvml: Nvml, handle: Any, card: str) -> Iterator[Instance]:
    most = attempt(nvml.ask, "nvmlDeviceGetMaxMigDeviceCount", handle)
    for index in range(0 if isinstance(most, Trouble) else most):
        instance = attempt(_instance, nvml, handle, index, card)
        if not isinstance(instance, Trouble):
            yield instance


def _instance(nvml: Nvml, handle: Any, index: int, card: str) -> Instance:
    own = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
    uuid = text(nvml.ask("nvmlDeviceGetUUID", own))
    parts = [attempt(nvml.ask, f, own) for f in ("nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId")]
    return Instance(uuid, "/".join(["MIG-" + card, *(str(p) for p in parts)]), own)


def _defaults(cards: Sequence[Physical]) -> Iterator[Seen]:
    for card in cards:
        yield from _whole(card)


def _whole(card: Physical) -> Iterator[Seen]:
    """A card named as a whole: with MIG on CUDA takes its first instance, and without one nothing of it."""
    if not card.mig:
        yield Seen(card)
    elif card.instances:
        yield Seen(card, card.instances[0])


def _named(wanted: str, cards: Sequence[Physical]) -> list[Seen]:
    """The list as CUDA reads it: the first entry's form is the form of all, and naming a card twice hides all."""
    entries = [entry.strip() for entry in wanted.split(",")]
    form = _form(entries[0])
    seen: list[Seen] = []
    for entry in entries:
        device = _entry(entry, cards) if _form(entry) == form else None
        if device is None:
            break
        if device.uuid in [other.uuid for other in seen]:
            return []
        seen.append(device)
    return seen


def _form(entry: str) -> str:
    return entry[:4].lower() if entry[:4].lower() in ("gpu-", "mig-") else "number"


def _entry(entry: str, cards: Sequence[Physical]) -> Seen | None:
    if _form(entry) != "number":
        found = named(cards, entry)
    else:
        number = re.match(r"\+?(\d{1,9})", entry)  # CUDA reads with strtoul: what follows the digits is not looked at
        found = next((Seen(c) for c in cards if number and c.index == int(number[1])), None)
    return found if found is None or found.instance else next(_whole(found.physical), None)


def _names(seen: Seen) -> tuple[str, ...]:
    if seen.instance is None:
        return (seen.physical.uuid.lower(),)
    return (seen.instance.uuid.lower(), seen.instance.legacy.lower())
