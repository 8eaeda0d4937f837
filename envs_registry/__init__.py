"""The worlds that ship with dfgym, one folder each: data, not code (installed as `dfgym.worlds`)."""
