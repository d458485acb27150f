"""Network adapters, their drivers, and the links that they are bound into."""

from sentinel.checks._lines import PCI, form

_MLX = rf"mlx[45]_core {PCI}: (?:\w{{1,64}}:\d{{1,6}}:\(pid \d{{1,10}}\): )?"
_EFA = rf"(?:infiniband (?:rdmap|efa_)\w{{1,16}}|efa {PCI}): "
"""Amazon's adapter; its driver for Ethernet words its own troubles alike."""
_DEVICE = (
    rf"WATCHDOG: (?!CPU:)(\S{{1,32}})|^(?:\S{{1,32}} )?{PCI} (\S{{1,32}}): "
    rf"|({PCI})|^infiniband (\w{{1,20}})"
)
"""The interface where it is named, else the adapter."""
FORMS = (
    form(
        "network", "network", "a network adapter fails",
        rf"{_MLX}(?:Detected insufficient power|Port module event\[error\]|device's health compromised)",
        rf"{_MLX}Health issue observed, .{{0,80}}severity\([0-3]\)",
        rf"{_MLX}health recovery flow aborted",
        rf"{_MLX}\w{{1,32}}\(0x[0-9a-f]{{1,4}}\) timeout\. Will cause a leak",
        rf"mlx[45]_core {PCI}: .{{0,100}}(?:unrecoverable|firmware (?:internal )?error)",
        r"mlx5_\w{8,56}:\d{1,6}:\(pid \d{1,10}\): (?:Detected insufficient power|Port module event\[error\])",
        r"NETDEV WATCHDOG: \S{1,32} \([^)]{1,32}\): transmit queue",
        rf"\w{{1,16}} {PCI} \S{{1,32}}: NETDEV WATCHDOG: CPU: \d{{1,5}}: transmit queue",
        rf"\w{{1,16}} {PCI}:? \S{{1,32}}: (?:TX timeout detected(?:, |$)|tx_timeout recovery level )",
        rf"\w{{1,16}} {PCI} \S{{1,32}}: Detected (?:Tx|Hardware) Unit Hang",
        rf"{_MLX}mlx5_init_one failed with error code ",
        rf"{_EFA}The device didn't send any completion for admin cmd",
        rf"{_EFA}(?:Wait for completion \(polling\) timeout|Admin queue is closed)",
        rf"{_EFA}(?:Reset indication didn't turn|Device isn't ready, )",
        device=_DEVICE,
    ),
    form(
        "bond-link-down", "network", "a bond of network adapters has lost a link",
        r"(?:bonding: )?\S{1,16}: link status definitely down for interface ",
        r"\S{1,16}: \(slave \S{1,16}\): link status definitely down, ",
        r"(?:bonding: )?\S{1,16}: now running without any active interface",
        device=r"for interface (\S{1,16}),|: \(slave (\S{1,16})\): |^(?:bonding: )?(\S{1,16}): now running",
    ),
)  # fmt: skip
"""From drivers/net/ethernet/mellanox/mlx5/core/health.c, net/sched/sch_generic.c (also as of Linux 6.8),
bnxt.c, drivers/net/ethernet/intel, drivers/infiniband/hw/efa and drivers/net/bonding, whose second form is
of Linux 5.5. What a driver's own bookkeeping complains of (`mlx5_cmd_check`, `hwrm req_type`) is none."""
