"""Machine checks and memory errors that no hardware corrected."""

from sentinel.checks._lines import form

_UC = r"[abef][0-9a-f]{15}"
"""A bank's status that is valid (bit 63) and uncorrected (bit 61): MCI_STATUS_UC, Intel SDM 15.3.2.2."""
FORMS = (
    form(
        "memory-uncorrected", "memory", "host memory has an uncorrectable error",
        r"EDAC MC\d{1,3}: (?:UE (?:row|page) |\d{1,9} UE [a-z])",
        r"Memory failure: 0x[0-9a-f]{1,16}: (?!unhandlable page)",
        r"mce: Uncorrected hardware memory error in user-access ",
        device=r"EDAC MC\d{1,3}: .{1,120}\bon (CPU_SrcID#\S{1,64}|mc#\S{1,64})|EDAC (MC\d{1,3}): ",
    ),
    form(
        "machine-check", "cpu", "the hardware reports an error that it did not correct",
        rf"mce: \[Hardware Error\]: CPU \d{{1,5}}: Machine Check: [0-9a-f]{{1,16}} Bank \d{{1,3}}: {_UC}\b",
        r"mce: \[Hardware Error\]: CPU \d{1,5}: Machine Check Exception: [0-9a-f]{1,16} Bank ",
        r"\[Hardware Error\]: (?:System Fatal error\.|Uncorrected, software )",
        r"(?:\{\d{1,9}\})?\[Hardware Error\]: event severity: (?:fatal|recoverable)",
        r"SError Interrupt on CPU\d{1,5}, code 0x[0-9a-f]{8,16} -- ",
        r"Internal error: synchronous external abort: ",
    ),
)  # fmt: skip
"""From drivers/edac/edac_mc.c, mm/memory-failure.c, arch/x86/kernel/cpu/mce, drivers/firmware/efi/cper.c and
arch/arm64: its last two, of processors such as Grace, say that an access was not answered.
An unhandlable page is one that the kernel could not give up after errors which the hardware did correct."""
