"""The tools' configuration files and the kernel's command line: text in, values out."""
