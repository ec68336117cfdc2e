"""The command line: one file per command group; each command reads settings, calls the composition root and prints."""
