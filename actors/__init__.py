"""Layer 3: steps simulators with the current policy and sends chunks of transitions to replay."""
