"""PCIe ports and devices: Advanced Error Reporting, containment, and slots that lose what is in them."""

from sentinel.checks._lines import PCI, form

_DEVICE = rf"(?:.{{1,160}}received(?: from|:) )?(?:\S{{1,32}} )?({PCI})"
"""Who sent the error, where the port that reports it says so."""
FORMS = (
    form(
        "pcie-fatal", "pcie", "a PCIe port or device reports a fatal error",
        rf"\S{{1,32}} {PCI}: AER: (?:Multiple )?Uncorrect(?:ed|able) \(Fatal\)",
        rf"\S{{1,32}} {PCI}: (?:AER: )?PCIe Bus Error: severity=Uncorrect(?:ed|able) \(Fatal\)",
        rf"\S{{1,32}} {PCI}: DPC: (?:containment event, |ERR_FATAL detected|unmasked uncorrectable error )",
        device=_DEVICE,
    ),
    form(
        "pcie-uncorrected", "pcie", "a PCIe port or device reports an uncorrected error",
        rf"\S{{1,32}} {PCI}: AER: (?:can't recover|device recovery failed)",
        rf"\S{{1,32}} {PCI}: AER: (?:Multiple )?Uncorrect(?:ed|able) \(",
        rf"\S{{1,32}} {PCI}: (?:AER: )?PCIe Bus Error: severity=Uncorrect",
        device=_DEVICE,
    ),
    form(
        "pcie-link-down", "pcie", "a PCIe slot has lost its link or its device",
        rf"pcieport {PCI}: pciehp: Slot\(\S{{1,16}}\): (?:Link Down$|Card not present)",
        rf"pciehp {PCI}:pcie\d{{1,4}}: slot\(\S{{1,16}}\): Link Down event",
        rf"\S{{1,32}} {PCI}: (?:Unable to|can't) change power state from .{{1,32}} inaccessible",
        rf"\S{{1,32}} {PCI}: not ready \d{{1,8}}ms after .{{1,32}}; giving up",
        device=_DEVICE,
    ),
)  # fmt: skip
"""From drivers/pci/pcie/aer.c (also with the words of Linux 7), dpc.c and
drivers/pci/hotplug/pciehp_ctrl.c, whose second form is of Linux 4; pci.c for who does not answer any more."""
