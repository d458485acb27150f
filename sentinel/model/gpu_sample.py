"""What a GPU's driver says of it beyond its presence, by kind of fault; `None`: it gives no such value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GpuDetail:
    """Which GPU it is, and why values are missing."""

    index: int
    uuid: str = ""
    pci: str = ""
    error: str = ""
    """The driver's words when it did not answer; empty when it answered, or merely lacks a value."""


@dataclass(frozen=True, slots=True)
class GpuMemory(GpuDetail):
    """Errors that its memory has had, counts."""

    ecc_corrected_aggregate: int | None = None
    """Over the GPU's life, as is the next one; volatile counts are those since the driver was loaded."""
    ecc_uncorrectable_aggregate: int | None = None
    dram_corrected: int | None = None
    """Volatile."""
    sram_corrected: int | None = None
    """Volatile."""
    sram_uncorrectable_aggregate: int | None = None
    sram_threshold_exceeded: bool | None = None
    """The driver's own judgement of the SRAM's uncorrectable errors."""
    remapped_corrected: int | None = None
    """Rows replaced for corrected errors."""
    remapped_uncorrectable: int | None = None
    banks: tuple[int, int, int, int, int] | None = None
    """Memory banks by the spare rows that they have left: all, many, some, few, none."""
    retired_single: int | None = None
    """Pages retired for single-bit errors; GPUs before Ampere."""
    retired_double: int | None = None
    retire_pending: bool | None = None


@dataclass(frozen=True, slots=True)
class NvLink:
    """One NVLink of a GPU; counts since the driver was loaded."""

    link: int
    active: bool | None = None
    replays: int | None = None
    """Packets that were sent again."""
    recoveries: int | None = None
    """How often the link was trained again; it stands still meanwhile."""
    crc_errors: int | None = None


@dataclass(frozen=True, slots=True)
class GpuLinks(GpuDetail):
    """What connects it."""

    busy: bool | None = None
    """It is at work and at full power: only then must its PCIe link be at its best."""
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    """Of GPU and slot together."""
    pcie_width: int | None = None
    """Lanes."""
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    """Packets sent again since the driver was loaded."""
    nvlinks: tuple[NvLink, ...] = ()
    mig: bool = False
    """Split into instances, which have no NVLink."""


@dataclass(frozen=True, slots=True)
class GpuClocks(GpuDetail):
    """Its clocks, heat and power."""

    throttle_reasons: int | None = None
    """NVML bit mask `nvmlClocksEventReasons`."""
    thermal_violation_ns: int | None = None
    """How long its clocks were held down by heat since the driver was loaded."""
    power_violation_ns: int | None = None
    """The same, by the power limit."""
    memory_temperature_c: int | None = None
    memory_temperature_max_c: int | None = None
    """The device's own limit."""
    power_w: float | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    """The limit it comes with."""
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that has a context on a GPU."""

    pid: int
    """As the host counts processes."""
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class GpuTenants(GpuDetail):
    """Who uses it."""

    processes: tuple[GpuProcess, ...] | None = None
    memory_used_bytes: int | None = None
    """Without what the driver keeps for itself."""
    utilisation_percent: int | None = None
    mig: bool | None = None
    mig_pending: bool | None = None
    """As it will be after the next reset."""
    mig_instances: int | None = None


@dataclass(frozen=True, slots=True)
class Fabric:
    """A GPU's registration with the NVLink fabric, as NVML numbers it."""

    state: int
    """`NVML_GPU_FABRIC_STATE_*`: 0 there is none, 1 not started, 2 in progress, 3 completed."""
    status: int
    """How it came out, an NVML error code; 0 is success."""
    health: int
    """`NVML_GPU_FABRIC_HEALTH_MASK_*`."""


@dataclass(frozen=True, slots=True)
class GpuDriver(GpuDetail):
    """What the driver is, and what it asks for."""

    recovery_action: int | None = None
    """`nvmlDeviceGpuRecoveryAction_t`: 0 none."""
    fabric: Fabric | None = None
    name: str = ""
    driver: str = ""
    vbios: str = ""
    serial: str = ""
    """Printed on the board; empty where the driver does not tell."""
