"""The command ``fastsoftmax``: `commands` has its subcommands, `train` and `bench` their work, the rest the output."""
