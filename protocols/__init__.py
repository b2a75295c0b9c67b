"""Layer 2: how policies are judged."""
