"""What a run needs around it: files for Kubernetes, Slurm, Docker, Redis and monitoring, rendered from the run's settings and checked.

Everything here works on plain facts about a run (``deploy.facts``), never on its settings themselves, and loads neither torch nor ray nor a
simulator. Whatever is rendered is a function of these facts alone, and has no secret in it: only names of Secrets, files and variables.
"""
