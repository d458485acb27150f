"""Only the kernel speaks for the kernel, in whatever form its log is written."""

import pytest

from sentinel.model.kernel_line import LONGEST, said

XID = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."

KERNELS = {
    "bare": "{}",
    "bare with its name": "kernel: {}",
    "dmesg": "[   12.345678] {}",
    "dmesg with a short time": "[9.0] {}",
    "dmesg with printk's caller": "[   12.345678][ T1234] {}",
    "dmesg with printk's caller apart": "[   12.345678] [    T1] {}",
    "dmesg on a processor": "[   12.345678][    C3] {}",
    "dmesg -T": "[Sun Jan 11 09:52:01 2026] {}",
    "dmesg -T on the fifth": "[Sun Jan  5 18:28:55 2025] {}",
    "dmesg -d": "[   12.345678 <    0.000006>] {}",
    "dmesg -d alone": "[<    0.000006>] {}",
    "dmesg -e": "[  +0.000006] {}",
    "dmesg -e, a new minute": "[Jan11 09:52] {}",
    "dmesg -x": "kern  :warn  : [   12.345678] {}",
    "dmesg -xT": "kern  :err   : [Sun Jan 11 09:52:01 2026] {}",
    "dmesg -r": "<4>[   12.345678] {}",
    "dmesg --time-format=iso": "2026-01-11T09:52:01,123456+00:00 {}",
    "kmsg": "4,1234,5678901,-;{}",
    "kmsg with flags": "3,1234,5678901,-,caller=T12;{}",
    "syslog": "Mar 03 07:00:00 n1 kernel: {}",
    "syslog with a space": "Mar  3 07:00:00 n1 kernel: {}",
    "syslog with the kernel's time": "Mar 03 07:00:00 n1 kernel: [16450076.435595] {}",
    "syslog without a host": "Mar 03 07:00:00 kernel: {}",
    "syslog with its priority": "<4>Mar 03 07:00:00 n1 kernel: {}",
    "syslog with facility": "Mar  3 07:00:00 n1 kern.warn kernel: {}",
    "openwrt": "Tue Mar  3 07:00:00 2026 kern.warn kernel: [   12.345678] {}",
    "syslog from an address": "Mar 03 07:00:00 fe80::1 kernel: {}",
    "rfc 5424": "<4>1 2026-03-03T07:00:00.123456+00:00 n1 kernel - - - {}",
    "rfc 5424 with data": '<4>1 2026-03-03T07:00:00Z n1 kernel - - [a b="c\\]"][d e="f"] {}',
    "rsyslog": "2026-11-29T13:00:01.123456+00:00 n1 kernel: {}",
    "rsyslog with the kernel's time": "2026-11-29T13:00:01.123456+00:00 n1 kernel: [   12.345678] {}",
    "journalctl -o short-iso": "2026-11-29T13:00:01+0000 n1 kernel: {}",
    "journalctl -o short-full": "Sun 2026-11-29 13:00:01 UTC n1 kernel: {}",
    "journalctl -o short-monotonic": "[16450076.435595] n1 kernel: {}",
    "journalctl -o short-unix": "1774000000.123456 n1 kernel: {}",
    "journalctl in Polish": "kwi 15 07:56:59 n1 kernel: {}",
    "journalctl in Spanish": "sep 03 13:25:15 n1 kernel: {}",
    "journalctl in French": "févr. 03 07:00:00 n1 kernel: {}",
    "journalctl in Chinese": " 3月 03 07:00:00 n1 kernel: {}",
    "journalctl in Korean": " 3월 03 07:00:00 n1 kernel: {}",
    "journalctl -o short-full in German": "Di 2026-03-03 13:00:01 CET n1 kernel: {}",
    "dmesg -T in French": "[mar. mars  3 07:00:00 2026] {}",
    "dmesg -x --time-format=iso": "kern  :err   : 2026-01-11T09:52:01,123456+00:00 {}",
    "dmesg in colours": "\x1b[32m[   12.345678] \x1b[0m{}\x1b[0m",
    "after a power cut": "\0\0\0\0Mar 03 07:00:00 n1 kernel: [   12.345678] {}",
    "the first of a file with a mark": "\ufeffMar 03 07:00:00 n1 kernel: {}",
    "talos": "192.0.2.9: kern: warning: [2026-04-22T21:26:20.599595837Z]: {}",
    "talos by name": "worker-1.example: kern: err: [2026-04-22T21:26:20.599595837Z]: {}",
    "talos on its console": "kern: warning: [2026-04-22T21:26:20.599595837Z]: {}",
}

OTHERS = {
    "sudo": "Nov 29 13:00:01 n1 sudo[4242]: operator : COMMAND=/usr/bin/grep -c {}",
    "sudo, and nothing else": "Nov 29 13:00:01 n1 sudo[4242]: {}",
    "a container": "2026-11-29T13:00:01.123456+00:00 n1 containerd: {}",
    "a program that quotes a line whole": "Nov 29 13:00:01 n1 python3[7]: kernel: {}",
    "a program that quotes a syslog line": "Nov 29 13:00:01 n1 app[7]: Nov 29 13:00:00 n1 kernel: {}",
    "a program without a number": "Nov 29 13:00:01 n1 logger: kernel: [ 12.3] {}",
    "a program without a host": "Nov 29 13:00:01 sudo[4242]: {}",
    "kmsg of a process": "12,1234,5678901,-;{}",
    "kmsg of a daemon": "30,1234,5678901,-;{}",
    "dmesg -x of a process": "user  :warn  : [   12.345678] {}",
    "dmesg -r of a process": "<12>[   12.345678] {}",
    "a priority that is not the kernel's": "<13>Mar 03 07:00:00 n1 kernel: {}",
    "rfc 5424 of a process": "<4>1 2026-03-03T07:00:00Z n1 sudo 4242 - - {}",
    "rfc 5424 of another facility": "<14>1 2026-03-03T07:00:00Z n1 kernel - - - {}",
    "openwrt of a process": "Tue Mar  3 07:00:00 2026 user.warn kernel: {}",
    "talos of a service": "192.0.2.9: user: warning: [2026-04-22T21:26:20.599595837Z]: {}",
    "a program named kernel": "Nov 29 13:00:01 n1 kernel[4242]: {}",
    "rfc 5424 of a program named kernel": "<4>1 2026-03-03T07:00:00Z n1 kernel 4242 - - {}",
    "dmesg -x --time-format=iso of a daemon": "daemon:err   : 2026-01-11T09:52:01,123456+00:00 {}",
    "a program in French": "févr. 03 07:00:00 n1 python3[7]: {}",
    "sudo after a power cut": "\0\0\0\0Mar 03 07:00:00 n1 sudo[7]: {}",
    "a container's output (CRI)": "2026-11-29T13:00:01.123456789Z stdout F {}",
    "a date and no tag": "2026-11-29T13:00:01.123456+00:00 {}",
}
"""All of these have somebody else's name at their front."""

QUOTES = {
    "bare": "grep -c {}",
    "bare with a tag": "sudo[4242]: {}",
    "bare in brackets": "[ERROR] {}",
    "in dmesg": "[   12.345678] systemd[1]: {}",
    "in dmesg, naming the kernel": "[   12.345678] app[1]: kernel: {}",
    "in a journal": "[16450076.435595] n1 sudo[4242]: {}",
}
"""Whose words the kernel may have taken down: they stand in the middle."""


@pytest.mark.parametrize("form", KERNELS.values(), ids=KERNELS)
def test_the_kernels_words_are_found_behind_each_prefix(form: str) -> None:
    assert said(form.format(XID)) == XID


@pytest.mark.parametrize("form", OTHERS.values(), ids=OTHERS)
def test_somebody_elses_line_is_none_of_the_kernels(form: str) -> None:
    assert said(form.format(XID)) is None


@pytest.mark.parametrize("form", QUOTES.values(), ids=QUOTES)
def test_what_is_quoted_does_not_begin_the_message(form: str) -> None:
    message = said(form.format(XID))
    assert message is not None
    assert not message.startswith("NVRM:")


@pytest.mark.parametrize(
    "line",
    ["", " ", "[", "<", "<4>", "<99999>x", "4,1", "kern:", "Mar 03 07:00:00 ", "kernel: ", "\x00\xff"],
)
def test_scraps_of_lines_accuse_nobody(line: str) -> None:
    assert said(line) in (None, "", line.strip(" \0"), line.lstrip(" \0"))


@pytest.mark.parametrize(
    "line",
    [
        "a" * 10**6,
        "[" * 10**6,
        " " * 10**6,
        "1" * 10**6,
        "Mar 03 07:00:00 " + "a " * 10**5,
        "<4>1 2026-03-03T07:00:00Z n kernel - - " + "[a]" * 10**5,
        "<4>1 2026-03-03T07:00:00Z n kernel - - [" + "\\" * 10**5,
        "a-" * 10**5 + ": kern: warning: [",
    ],
)
@pytest.mark.timeout(10)
def test_hundreds_of_the_longest_lines_are_read_in_seconds(line: str) -> None:
    for _ in range(200):
        message = said(line)
    assert message is None or len(message) <= LONGEST
