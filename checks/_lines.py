"""What a subsystem's table of kernel lines is made of: how the kernel words one kind of trouble."""

import re
from dataclasses import dataclass

PCI = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.\d"
"""A PCI address, as the kernel names a device."""
NOTHING = re.compile(r"(?!)")


@dataclass(frozen=True, slots=True)
class Form:
    """How the kernel words one kind of trouble."""

    code: str
    component: str
    what: str
    pattern: re.Pattern[str]
    """Of a message from its first character on: what is quoted stands further back."""
    device: re.Pattern[str] = NOTHING
    """Where such a message names what is hit, in its first group that is set."""

    def hit(self, message: str) -> str:
        """Say what a message is about: `storage:nvme0n1`, or only `storage` where it names nothing."""
        found = self.device.search(message)
        device = next(filter(None, found.groups()), "") if found else ""
        return f"{self.component}:{device}" if device else self.component


def form(code: str, component: str, what: str, *alternatives: str, device: str = "(?!)") -> Form:
    """Describe one kind of trouble by the ways in which kernels have worded it."""
    return Form(f"kernel-{code}", component, what, re.compile("|".join(alternatives)), re.compile(device))
