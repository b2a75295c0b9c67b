"""Layer 0: types, contracts and the small mechanisms every other package stands on."""
