"""``manyhands demos``: demonstrations are collected, imported, looked at, and found by those who learn from them."""
