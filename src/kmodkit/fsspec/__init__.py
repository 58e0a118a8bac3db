"""The FSSpec format: the schema, the generated code, and the codec, which alone touches it."""
