"""What modprobe(8) does, as a library: its configuration, what a name means, loading and unloading.

The parts are imported one by one, since a call of the command needs few of them:

- `settings`: the configuration of a machine, read from its files
- `lookup`: `Modules`, which finds what a name means, by configuration and depmod's indexes
- `insert`, `remove`: `Inserter` and `Remover`, which act in kmod's order
- `calls`: what they act through
- `explain`: what would happen, and which line of which file says so
- `lint`: parameters that a module does not list
"""
