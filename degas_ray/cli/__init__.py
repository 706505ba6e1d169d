"""The command line: one module a verb, which parses, calls the public API and prints."""
