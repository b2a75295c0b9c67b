"""Runs on a Ray cluster: who keeps them alive, where they are placed, and the commands that ask for them. Nothing here imports ray."""
