"""What can be fed with bytes: each module gives `seeds`, and `opened`, which feeds the real entry point.

What `opened` gives takes one input and says whether it was accepted; a refusal is False, and whatever else
comes out of it ends a process of Sentinel. A module may also have `shaped`, which gives an input the
checksums that a real writer would.
"""

TARGETS = {
    "kernel-lines": "kernel",
    "host-files": "host_files",
    "heartbeats": "heartbeats",
    "reports": "reports",
    "notes": "notes",
    "journal-files": "journal_files",
    "journal-rows": "journal_rows",
    "logbook-index": "logbook",
    "logbook-tally": "tally",
    "snapshot-slots": "slots",
    "snapshot-wire": "wire",
    "slack-answers": "slack",
    "slack-presses": "presses",
    "http-requests": "http",
}
"""By the names that the command takes, and their modules."""
