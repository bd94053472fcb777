"""A stand-in for the ODIN AI knowledge base that speaks HTTP and checks every request (research/odin.md, section 1)."""

from tests.emulators.odin.faults import Fault, Processing
from tests.emulators.odin.server import OdinEmulator

__all__ = ["Fault", "OdinEmulator", "Processing"]
