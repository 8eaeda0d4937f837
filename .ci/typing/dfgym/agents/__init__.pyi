# agents/ is installed as dfgym.agents; each stub here says so to mypy, which reads no package-dir.
