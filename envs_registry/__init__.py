"""The worlds that ship with dfgym, a folder each: data, not code (installed as `dfgym.worlds`)."""
