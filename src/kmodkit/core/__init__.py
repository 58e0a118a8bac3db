"""The pure heart: bytes and strings in, values out. No files, sockets, processes, clocks or threads."""
