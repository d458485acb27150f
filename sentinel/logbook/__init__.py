"""The logbook: every incident as an entry that people read and a recording that replays."""
