"""Names of RLBench, tasks of the double: kinematic ones, each with something that real tasks do."""
