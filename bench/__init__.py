"""Benches: kmodkit beside depmod and libkmod, in the same run and on the same kernels."""
