"""KServe's inference protocol: tensors as JSON or binary data.

Imported by `server.api`.
"""
