"""The one word between a Keeper and the driver that it starts."""

NODE_IP = "MANYHANDS_NODE_IP"
"""environment: of the node that the driver belongs to, where a host has several"""
