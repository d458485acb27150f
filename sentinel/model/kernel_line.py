"""Who speaks in a line of a kernel log, and what the kernel says in it.

A log file holds what programs say, too, and a program may quote the kernel. Each form in which such a line
is written has a prefix that names the speaker; what follows a prefix that is not the kernel's is nobody's
evidence. A line without any prefix may be the kernel's: whoever reads it looks at how it begins.

Within what the kernel says stand words of others: the name of a process, at most 15 characters, is often its
beginning, and the name of a program or a control group, which may hold the end of a line, its middle. So
whoever looks for a message asks for more than 15 characters in a row from its first one on, and a line that
only continues a record begins no message.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

LONGEST = 2048
"""Characters of a line that count: the kernel's records end at 1 KiB (`PRINTK_MESSAGE_MAX` is 2 KiB with its
prefix), so what is longer is somebody else's or no use."""
KERNEL = 0
"""The facility of the kernel: `priority >> 3`. Linux gives it to no process that writes to /dev/kmsg
(`devkmsg_write`, kernel/printk/printk.c: "If no level or facility is given, LOG_USER")."""

Rest: TypeAlias = str | None
"""What follows a prefix; None when the prefix is somebody else's."""

_WORD = r"[^\W\d_]{1,8}\.?"
_MONTH = rf"(?:{_WORD}|\d{{1,2}}[月월])"
"""In the locale of whoever wrote the file: `Nov`, `kwi`, `févr.`, ` 3月` (strftime's %b)."""
_DATE = rf"{_MONTH} [ \d]?\d"
_CLOCK = r"\d\d:\d\d:\d\d"
_ISO = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}"
_ZONE = r"(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_CTIME = rf"{_WORD} {_DATE} {_CLOCK}(?: [A-Z]{{1,5}})? \d{{4}}"
_SECONDS = r"\d{1,12}\.\d{1,9}"

_PRIORITY = re.compile(r"<(\d{1,4})>(\d )?")
_RECORD = re.compile(r"(\d{1,4}),\d{1,20},\d{1,20},[^;\s]{0,256};")
"""`6,1234,5678,-;text`, as /dev/kmsg gives it."""
_FACILITY = re.compile(
    r"(?:(?=[\w:]{0,64}[.:-])[\w.:-]{2,64}: )?(?P<facility>[a-z]\w{2,8}) *: *[a-z]{3,8} *: *(?=\[|\d{4}-)"
)
"""`kern  :warn  : [` of `dmesg -x` (with --time-format=iso a date and no bracket), and of Talos
`192.0.2.9: kern: warning: [`."""
_BRACKET = re.compile(
    rf"\[ *(?:{_SECONDS}(?: *< *{_SECONDS}>)?|[+<] *{_SECONDS}>?"
    rf"|{_CTIME}|{_MONTH} ?\d?\d \d\d:\d\d"
    rf"|{_ISO}(?:[.,]\d{{1,9}})?{_ZONE})\]:?(?: ?\[ *[TC]\d{{1,10}}\])? ?"
)
"""The time as `dmesg` (also with -T, -d, -e), Talos and syslog daemons write it, with printk's caller."""
_DMESG_ISO = re.compile(rf"{_ISO},\d{{1,9}}{_ZONE} ")
"""`dmesg --time-format=iso`: a comma, and no host."""
_STAMP = re.compile(
    rf"(?:{_DATE} (?:\d{{4}} )?{_CLOCK}(?:\.\d{{1,9}})?|{_CTIME}"
    rf"|(?:{_WORD} )?{_ISO}(?:\.\d{{1,9}})?{_ZONE}(?: [A-Z]{{1,5}})?|\d{{9,11}}\.\d{{1,6}}) "
)
"""The time at the front of a line by rsyslog, syslog-ng, busybox or journalctl."""
_NAME = r"[a-z]{3,8}\d?"
_LEVEL = r"(?:emerg|alert|crit|err|error|warn|warning|notice|info|debug)"
_TAG = re.compile(
    rf"(?:(?!{_NAME}\.{_LEVEL} )\S{{0,254}}[^\s:] )?(?:(?P<facility>{_NAME})\.{_LEVEL} )?"
    r"(?P<tag>[^\s:\[]{1,64})(?P<pid>\[\d{1,10}\])?:[ \t]?"
)
"""`host kernel: `, `host kern.warn kernel: `, `host sudo[4242]: `. Who has a number is not the
kernel, whatever his name is (`logger --id -t kernel`)."""
_RFC5424 = re.compile(
    rf"{_ISO}(?:\.\d{{1,9}})?{_ZONE} \S{{1,255}} (?P<tag>\S{{1,48}}) (?P<pid>\S{{1,128}}) \S{{1,32}}"
    r" (?:-|(?:\[(?:[^\]\\]|\\.)*\])+) ?\ufeff?"
)
_JOURNAL = re.compile(r"(?:\S{0,254}[^\s:] )?kernel: ?")
"""After a time in brackets: `journalctl -o short-monotonic`."""
_BLANK = "\0\ufeff \t\r\n\v\f"
"""What may stand before a line: a power cut leaves zeros where a log was being written."""
_COLOUR = re.compile(r"\x1b\[[\d;]{0,16}m")
"""What `dmesg --color=always` puts around time and subsystem."""


_INDENTED = re.compile(r"[\0\ufeff]*[ \t]")
_FAR_IN = re.compile(r"[\0\ufeff]*(?:\t| {4})")
"""As dmesg and journalctl write what follows the end of a line within a message, whatever it looks like."""
_MOMENT = re.compile(r"\[ *(?!0\.0+\])\d{1,12}\.\d{6,9}\]")
"""The kernel's own time, fine enough to tell one record from the next; early in a boot all are of 0."""
_HEAD = 160
"""Where a log puts its times."""
_MORE_THAN_A_NAME = 16
"""Characters that are the kernel's own, for a process's name is shorter (TASK_COMM_LEN)."""
_SPREADS = ("NVRM: The NVIDIA GPU ", "NVRM: GPU at PCI:")
"""How a record begins whose later lines matter: the driver tells of a lost GPU in three."""


class _Spoken(NamedTuple):
    """A line, taken apart."""

    line: str
    text: str
    """What counts of it."""
    rest: Rest
    """What follows its prefix; `text` where it has none."""

    @property
    def is_indented(self) -> bool:
        """Whether it is, and not because in some languages a date begins with a blank."""
        first = self.line[:1]
        if not first or first not in "\0\ufeff\t ":
            return False
        far_in = _FAR_IN if self.rest != self.text else _INDENTED
        return far_in.match(self.line) is not None

    def said(self) -> str | None:
        """Give what the kernel says in it."""
        return f" {self.text}" if self.text and self.is_indented else self.rest

    def goes_on(self, before: "_Spoken") -> bool:
        """Say whether it is only one more line of a record."""
        if self.is_indented or (self.rest == self.text and before.rest != before.text):
            return True
        moment = _MOMENT.search(self.line, 0, _HEAD)
        if moment is None or moment[0] not in before.line[:_HEAD]:
            return False
        return (self.rest or "")[:_MORE_THAN_A_NAME] != (before.rest or "")[:_MORE_THAN_A_NAME]


def said(line: str) -> str | None:
    """Return what the kernel says in a line of a log; None if somebody else speaks in it.

    A line that is indented, and has no prefix, continues a record: what it says is given with a blank before.
    """
    return _apart(line).said()


def continues(before: str, line: str) -> bool:
    """Say whether a line is only one more of the record that began with the line `before`.

    It is if it has no prefix and that one has, or is indented; and if it has that one's very time, as syslog
    daemons write what they read from /proc/kmsg, and does not begin as that one does.
    """
    return _apart(line).goes_on(_apart(before))


class Records:
    """The lines of one log, in order, of which some continue the record before them."""

    def __init__(self) -> None:
        self._began = _apart("")
        """The line with which the newest record began."""
        self._spreads = False

    def hear(self, line: str) -> str | None:
        """Give a line in which the kernel begins to say something, and indented one that goes on with it.

        None for all others: somebody else's, and what continues a record that is told in one line.
        """
        spoken = _apart(line)
        if spoken.goes_on(self._began):
            return f" {(spoken.rest or '').lstrip()}"[:LONGEST] if self._spreads else None
        self._began, self._spreads = spoken, (spoken.rest or "").startswith(_SPREADS)
        return None if spoken.rest is None else line[:LONGEST]


def _apart(line: str) -> _Spoken:
    text = line.lstrip(_BLANK)[:LONGEST]
    text = _COLOUR.sub("", text) if "\x1b" in text else text
    rest: Rest = text
    for form in _FORMS:
        if rest is None:
            break
        rest = form(rest)
    return _Spoken(line, text, rest)


def _prioritised(line: str) -> Rest:
    """Take off `<4>` or a record's head, by which the kernel is known; with `<4>1 ` all of RFC 5424."""
    found = _PRIORITY.match(line) or _RECORD.match(line)
    if found is None:
        return line
    if int(found[1]) >> 3 != KERNEL:
        return None
    rest = line[found.end() :]
    if found.re is _PRIORITY and found[2]:
        header = _RFC5424.match(rest)
        is_kernel = header is not None and (header["tag"], header["pid"]) == ("kernel", "-")
        return rest[header.end() :] if header is not None and is_kernel else None
    return rest


def _with_facility(line: str) -> Rest:
    found = _FACILITY.match(line)
    if found is None:
        return line
    return line[found.end() :] if found["facility"] == "kern" else None


def _stamped(line: str) -> Rest:
    """Take off date, host and tag of a log that all programs write to."""
    if found := _DMESG_ISO.match(line):
        return line[found.end() :]
    stamp = _STAMP.match(line)
    if stamp is None:
        return line
    tag = _TAG.match(line, stamp.end())
    if tag is None or (tag["tag"], tag["pid"]) != ("kernel", None) or tag["facility"] not in (None, "kern"):
        return None
    return line[tag.end() :]


def _bracketed(line: str) -> Rest:
    """Take off the kernel's own time, and the kernel's name where it stands alone."""
    line = line.removeprefix("kernel: ")
    if found := _BRACKET.match(line):
        rest = line[found.end() :]
        journal = _JOURNAL.match(rest)
        return rest[journal.end() :] if journal else rest
    return line


_FORMS: tuple[Callable[[str], Rest], ...] = (_prioritised, _with_facility, _stamped, _bracketed)
