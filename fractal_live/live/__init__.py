"""Clock time. Plain synchronous logic: every function takes now_ns; no torch, no sockets, no async."""
