"""Disks, arrays, file systems, and file servers."""

from sentinel.checks._lines import form

_NAME = r"[\w.!-]{1,40}"
_DISK = r"(?!fd\d|sr\d|loop\d|ram\d)[\w.!-]{1,32}"
"""Not a drive for disks or images that a person puts in."""
_REQUEST = "(?:blk_update_request: |print_req_error: )?"
_SD = r"sd \d{1,4}:\d{1,4}:\d{1,4}:\d{1,8}: "
_IN = rf"\((?:device )?({_NAME})(?: state \w{{1,8}})?\)|\((?:device )?({_NAME}): state"
_ON = rf"\bdev(?:ice)? ({_NAME})|\b(nvme\d{{1,4}})\b|\[(\w{{1,32}})\]|failure on ({_NAME})|^sd (\S{{1,16}}): "
FORMS = (
    form(
        "filesystem", "storage", "a file system of the node fails",
        rf"XFS(?: \({_NAME}\))?: (?:\w{{1,16}} )?(?:I/O [Ee]rror|[Cc]orruption |CRC error )",
        rf"XFS(?: \({_NAME}\))?: (?:Filesystem has been shut down|xfs_do_force_shutdown\(|Internal error )",
        rf"XFS(?: \({_NAME}\))?: (?:\w{{1,16}} )?[Ss]hutdown received",
        rf"XFS \({_NAME}\): (?:xfs_log_force: error -|log mount(?:/recovery)? failed)",
        rf"EXT4-fs error \(device {_NAME}\)",
        rf"EXT[34]-fs \({_NAME}\): (?:Remounting filesystem read-only|I/O error while writing superblock)",
        rf"EXT4-fs \({_NAME}\): (?:Delayed block allocation failed for|failed to convert unwritten extents)",
        rf"{_DISK}: writeback error on inode \d",
        rf"Aborting journal on device {_NAME}",
        r"JBD2: (?:Detected IO errors while |I/O error when updating )",
        r"JBD2: Error -\d{1,4} detected when updating ",
        rf"BTRFS (?:error|critical) \(device {_NAME}", rf"BTRFS: error \(device {_NAME}",
        device=rf"{_IN}|on device ({_NAME})|superblock for ({_NAME})\.|^({_NAME}): writeback",
    ),
    form(
        "disk", "storage", "a disk of the node fails",
        r"nvme nvme\d{1,4}: (?:Disabling device|Removing after probe|Device not ready|controller is down)",
        r"nvme nvme\d{1,4}: I/O (?:tag )?\d{1,6} .{0,80}timeout, (?:reset |disable |aborting)",
        r"nvme\d{1,4}n\d{1,4}: .{0,64} @ LBA \d{1,20}, .{0,32}I/O Error \(sct ",
        r"block nvme\d{1,4}n\d{1,4}: no available path - failing I/O",
        rf"{_REQUEST}(?:I/O|critical medium|critical target|protection) error, dev {_DISK}, sector ",
        rf"Buffer I/O error on dev(?:ice)? {_DISK}, logical block ",
        rf"{_SD}(?:scsi: )?(?:rejecting I/O to offline device|Device offlined)",
        rf"{_SD}\[\w{{1,32}}\] (?:tag#\d{{1,6}} )?Sense Key : (?:Medium|Hardware) Error",
        device=_ON,
    ),
    form(
        "raid", "storage", "an array of disks has lost one",
        rf"md/raid\w{{0,16}}(?::\w{{1,16}})?: Disk failure on {_NAME},? (?:detected|disabling)",
        device=_ON,
    ),
    form(
        "file-server", "storage", "a file server does not answer, or has put this node out",
        r"(?:nfs4?|lockd): server \S{1,255} not responding",
        r"CIFS:? VFS: (?:\\\\|Server )\S{1,255} has not responded in \d{1,6} seconds",
        r"NFS: state manager: .{0,64} failed on NFSv4 server ",
        r"Lustre: \S{1,128}: Connection to \S{1,128} \(at \S{1,64}\) was lost; in progress operations ",
        r"LustreError: 11-0: \S{1,128}: operation (?!\w{1,16}_connect )\w{1,32} to node \S{1,64} failed: ",
        r"LustreError: 167-0: \S{1,128}: This client was evicted by ",
        device=r"(?:[Ss]erver |\\\\|Connection to |to node )(\S{1,128})|evicted by ([\w-]{1,64})",
    ),
)  # fmt: skip
"""From fs/xfs, fs/ext4, fs/jbd2, fs/btrfs, fs/iomap, fs/smb, drivers/nvme/host, block/blk-core.c,
drivers/scsi, drivers/md, net/sunrpc and Lustre's ptlrpc; what gpud and node-problem-detector look for is
among them."""
