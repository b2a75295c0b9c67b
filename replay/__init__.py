"""Layer 1: what was experienced, in shared memory: written by one ingest component, drawn from by learners without a call."""
