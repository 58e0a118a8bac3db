"""Public fakes for tests: modules and module trees that are real files, made from values,
and a kernel that answers as a real one does.

>>> from kmodkit.core.elf import Elf
>>> from kmodkit.core.modinfo import modinfo_from_elf
>>> module = ModuleBuilder("ice", depends=["gnss"], aliases=["pci:v00008086d00001591sv*sd*bc*sc*i*"])
>>> info = modinfo_from_elf(Elf.from_bytes(module.build()))
>>> info.name, info.depends
('ice', ('gnss',))
"""

from kmodkit.testing.builder import AppendedSignature, Compression, ModuleBuilder, compress
from kmodkit.testing.fake_kernel import FakeKernel
from kmodkit.testing.tree import write_tree

__all__ = ["AppendedSignature", "Compression", "FakeKernel", "ModuleBuilder", "compress", "write_tree"]
