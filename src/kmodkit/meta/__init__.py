"""The meta.pb format: the schema, the generated code, and the codec, which alone touches it."""
