"""The only place that touches the running system: files, system calls, sockets."""
