"""Processors that are stuck or too hot, processes that are stuck, and a kernel that fails itself."""

from sentinel.checks._lines import form

FORMS = (
    form(
        "lockup", "cpu", "a processor is stuck in the kernel",
        r"(?:NMI )?(?:watchdog: )?BUG: soft lockup - CPU#\d{1,5} stuck",
        r"(?:NMI )?(?:watchdog: )?(?:CPU\d{1,5}: )?Watchdog detected hard LOCKUP on cpu",
        r"(?:rcu: )?INFO: rcu_\w{1,16} (?:self-)?detected (?:expedited )?stall",
        r"BUG: workqueue lockup - pool ",
    ),
    form(
        "hung-task", "cpu", "a process has slept uninterruptibly for minutes",
        r"INFO: task .{1,16}:\d{1,10} blocked (?:in I/O wait )?for more than \d{1,6} seconds",
    ),
    form(
        "overheated", "host", "a zone of the node is critically hot: the kernel turns the node off",
        r"thermal thermal_zone\d{1,4}: (?:\S{1,32}: )?critical temperature reached",
    ),
    form(
        "oops", "kernel", "the kernel has met a defect of its own or of a driver",
        r"BUG: unable to handle (?:kernel |page fault for address)",
        r"BUG: kernel NULL pointer dereference, address: ",
        r"(?:Oops: )?(?:general protection fault|(?:divide error|stack segment|double fault):).{0,120} \[#\d",
        r"Internal error: (?!Oops: ).{1,80} \[#\d{1,4}\]",
        r"BUG: Bad page (?:state|map|cache) in process ",
        r"kernel BUG at \S{4,200}!$",
        r"Unable to handle kernel (?:paging request|NULL pointer dereference|access) at virtual address ",
        r"Kernel panic - not syncing: ",
    ),
)  # fmt: skip
"""From kernel/watchdog.c, kernel/workqueue.c, kernel/rcu/tree_stall.h, kernel/hung_task.c, mm/page_alloc.c,
drivers/thermal, arch/*/mm/fault.c and arch/*/kernel/traps.c. `Oops: 0002 [#1]` follows what is here, and
counts once. A `WARNING: CPU:` of a driver is none: it says where, and goes on. All processors of a node can
be stuck at once: none is named."""
