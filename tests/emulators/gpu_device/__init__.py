"""A GPU for tests that have none: `GpuStandIn` is an `Accelerator` with a GPU's manners, computed on the CPU.

    gpu = GpuStandIn()                       # or two: GpuStandIn(1, machine=gpu.machine)
    with gpu.current():
        model.to(gpu.device)                 # the device is "meta:0"
        ...
    assert not gpu.hazards

Emulated:
* Memory of its own: an operator on a tensor of this device and one of the host or of another device raises.
* Late copies: a download is garbage until an event behind it has passed; an upload's source must stay until then.
* Host waits: each is noted in `waits` with the line of the product. `.tolist()` and `.numpy()` raise.
* Streams: what is not ordered raises `RaceError`; memory that is freed too early is noted in `hazards`.
* Captures: nothing has values afterwards, replays run into the same memory, what CUDA forbids raises.
* Threads: one that did not enter `current()` uses the default stream, and its new tensors have no values.
* Memory counts, a capacity, errors on order (`fail`, `lose`; the texts are in `faults`), counts of launches.

Not emulated: time and overlap (operators run at once, one after the other, whatever their streams), rounding of the
GPU's kernels, device-side assertions (an index out of range raises IndexError at once), streams within a capture,
fragmentation, memory that is held until another stream is done with it. Races are found by whole allocations: streams
that use different parts of one look like a race. An operator of torch counts as one launch, however many kernels a GPU
would need. `nn.Module.to`, inference mode and no_grad work; gradients do not.
"""

from tests.emulators.gpu_device.copies import ChangedInFlight
from tests.emulators.gpu_device.device import GpuStandIn
from tests.emulators.gpu_device.machine import Machine
from tests.emulators.gpu_device.streams import RaceError
from tests.emulators.gpu_device.waits import HostWait

__all__ = ["ChangedInFlight", "GpuStandIn", "HostWait", "Machine", "RaceError"]
