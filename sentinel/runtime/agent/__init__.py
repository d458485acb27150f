"""The agent: watches one node and reports. It never stops a healthy run, also not by its own death."""
