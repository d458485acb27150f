"""The life of a job's ranks: forming, training, snapshots, restoring."""
