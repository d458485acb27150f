"""What NVIDIA's driver says of its GPUs beside Xids."""

from sentinel.checks._lines import form

_IN_DRIVER = r"NVRM: (?:GPU\d{1,3} )?\w{10,64}: "
"""A function of the driver: more than a process can be called."""
_DEVICE = (
    r"NVRM: (?:.{0,80}\bGPU (?:at )?(?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})|(GPU\d{1,3})\b)"
)
FORMS = (
    form(
        "nvrm-reset-required", "gpus", "the driver says that a GPU needs a reset",
        rf"{_IN_DRIVER}.{{0,200}}\[?NV_ERR_RESET_REQUIRED\b",
        r"NVRM: Rate limiting GSP RPC error prints for GPU ",
        device=_DEVICE,
    ),
    form(
        "nvrm-gpu-lost", "gpus", "the driver can't reach a GPU or can't start it",
        rf"{_IN_DRIVER}.{{0,200}}(?:\[?NV_ERR_GPU_IS_LOST|GPU lost from the bus)\b",
        r"NVRM: GPU \S{1,32} (?:RmInitAdapter|rm_init_adapter) failed",
        r"NVRM: The NVIDIA probe routine failed for \d",
        device=_DEVICE,
    ),
    form(
        "nvrm-gsp", "gpus", "a GPU's own processor does not answer, or has crashed",
        r"NVRM: (?:GPU\d{1,3} )?_kgspIsHeartbeatTimedOut: Heartbeat timed out",
        r"NVRM: (?:GPU\d{1,3} )?_kgsp(?:LogRpcTimeout|LogXid119): \*{3,80} GSP Timeout ",
        r"NVRM: (?:GPU\d{1,3} )?_kgspRpcGspEventPmuHalted: ",
        r"NVRM: (?:GPU\d{1,3} )?kgspHealthCheck_\w{1,16}: \*{3,80} GSP-CrashCat Report ",
        device=_DEVICE,
    ),
)  # fmt: skip
"""From the open kernel modules, as their users' reports quote them."""
