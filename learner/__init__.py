"""Layer 3: draws batches, updates, publishes weights."""
