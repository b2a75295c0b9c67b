"""Pure functions shared by the algorithm files."""
