"""KServe's inference protocol over gRPC, in the event loop of the HTTP server.

Imported by `server.cli`, where a command line asks for gRPC: the library takes time to import.
"""
