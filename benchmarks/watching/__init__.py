"""What being watched costs: the trainer's own calls, the paired total, memory snapshots, agent and prober."""
